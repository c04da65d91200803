-- Says that a consumer of a group is alive, or that it leaves, and counts those that are.
-- KEYS[1] the group's members, a sorted set by time
-- ARGV[1] consumer, ARGV[2] lease in ms, ARGV[3] '1' to stay, '0' to leave
-- Returns the number of members.
-- Atomic: the clock, the removal of the dead and the count must agree.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[3] == '1' then
  redis.call('ZADD', KEYS[1], now, ARGV[1])
else
  redis.call('ZREM', KEYS[1], ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2] * 10)
return redis.call('ZCARD', KEYS[1])
