-- Takes a lane for a consumer of a group, or keeps it.
-- KEYS[1] the lane's owner in the group, KEYS[2] the lane's stream
-- ARGV[1] consumer, ARGV[2] lease in ms, ARGV[3] group, ARGV[4] '1' to take a lane that is free, '0' only to keep one
-- Returns {0 somebody else's or free, 1 kept, 2 taken; the number of the group's entries that are not acknowledged}.
-- Atomic: between looking at the owner and taking over, nobody else may take over.
local owner = redis.call('GET', KEYS[1])
local held = 0
if owner == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  held = 1
elseif not owner and ARGV[4] == '1' then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  held = 2
end
local pending = 0
if held > 0 then
  local summary = redis.pcall('XPENDING', KEYS[2], ARGV[3])
  if summary and not summary.err then pending = summary[1] end
end
return {held, pending}
