-- Tells of one node of a service, and hears of the others that are alive.
-- KEYS[1]: the nodes. ARGV: 1 the node, 2 what it says, 3 for how many ms.
-- Returns what each of the others says.
local now, heard = clock(), {}
redis.call('HSET', KEYS[1], ARGV[1], whole(now + ARGV[3]) .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local all = redis.call('HGETALL', KEYS[1])
for at = 1, #all, 2 do
  local till, says = string.match(all[at + 1], '^(%d+) (.*)$')
  if not till or tonumber(till) < now then
    redis.call('HDEL', KEYS[1], all[at])
  elseif all[at] ~= ARGV[1] then
    heard[#heard + 1] = says
  end
end
return heard
