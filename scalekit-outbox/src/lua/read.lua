-- Reads entries of a lane for its owner.
-- KEYS[1] the lane's owner in the group, KEYS[2] the lane's stream
-- ARGV[1] consumer, ARGV[2] group, ARGV[3] most entries, ARGV[4] the id after which entries that were read before and are
-- not acknowledged are wanted, or '' for new ones, ARGV[5] the id up to which the consumer knows the group to have read
-- Returns {0, '', {}} if the lane is another's, {2, '', {}} if the group has read further than the consumer knows, else
-- {1, the id up to which the group has read, entries as {id, {field, value, ..}}}.
-- Atomic: a consumer that lost the lane must not move the group past entries that the new owner has not seen; and new
-- entries must not come before those of a reply that was lost, or of a call that ran after it was given up.
-- All owners read under one name, since only the owner reads.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {0, '', {}}
end
local function last_read()
  local groups = redis.pcall('XINFO', 'GROUPS', KEYS[2])
  if groups.err then
    return nil
  end
  for _, group in ipairs(groups) do
    local about = {}
    for i = 1, #group, 2 do
      about[group[i]] = group[i + 1]
    end
    if about['name'] == ARGV[2] then
      return about['last-delivered-id']
    end
  end
end
local last = last_read()
if not last then
  redis.call('XGROUP', 'CREATE', KEYS[2], ARGV[2], '0', 'MKSTREAM')
  last = '0-0'
end
local from = ARGV[4]
if from == '' then
  if last ~= ARGV[5] then
    return {2, '', {}}
  end
  from = '>'
end
local found = redis.call('XREADGROUP', 'GROUP', ARGV[2], 'owner', 'COUNT', ARGV[3], 'STREAMS', KEYS[2], from)
local entries = found and found[1] and found[1][2] or {}
if from == '>' and #entries > 0 then
  last = entries[#entries][1]
end
return {1, last, entries}
