-- Reads a session and moves its idle deadline.
-- KEYS[1]: the session. ARGV: 1 idle ms, 2 step ms.
-- Returns its fields and values in turn; nothing if it is not there; only '!x' for the mark of an ended one.
-- Atomic, so that a session that ends meanwhile is not given a new deadline. The deadline moves only if that
-- gains a step, and never past the absolute one.
local fields = redis.call('HGETALL', KEYS[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local deadline = tonumber(redis.call('HGET', KEYS[1], '!a'))
if not deadline then return fields end
local wanted = math.min(now + tonumber(ARGV[1]), deadline)
if wanted - now - redis.call('PTTL', KEYS[1]) >= tonumber(ARGV[2]) then
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', wanted))
end
return fields
