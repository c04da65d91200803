-- Reads entries of a lane for its owner.
-- KEYS[1] the lane's owner in the group, KEYS[2] the lane's stream
-- ARGV[1] consumer, ARGV[2] group, ARGV[3] most entries, ARGV[4] '>' for new ones, or the id after which entries that were
-- read before and are not acknowledged are wanted
-- Returns {0, '', {}} if the lane is another's, else {1, the id up to which the group was given entries, entries as
-- {id, {field, value, ..}}}.
-- Atomic: a consumer that lost the lane must not move the group past entries that the new owner has not seen.
-- All owners read under one name, since only the owner reads.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {0, '', {}}
end
local command = {'XREADGROUP', 'GROUP', ARGV[2], 'owner', 'COUNT', ARGV[3], 'STREAMS', KEYS[2], ARGV[4]}
local found = redis.pcall(unpack(command))
if found and found.err then
  if not string.find(found.err, 'NOGROUP', 1, true) then
    return redis.error_reply(found.err)
  end
  redis.call('XGROUP', 'CREATE', KEYS[2], ARGV[2], '0', 'MKSTREAM')
  found = redis.call(unpack(command))
end
local last = ''
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[2])) do
  local about = {}
  for i = 1, #group, 2 do
    about[group[i]] = group[i + 1]
  end
  if about['name'] == ARGV[2] then last = about['last-delivered-id'] end
end
if not found or not found[1] then
  return {1, last, {}}
end
return {1, last, found[1][2]}
