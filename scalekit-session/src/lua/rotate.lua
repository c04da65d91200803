-- Moves a session to another key.
-- KEYS: 1 the session, 2 its new key. ARGV: 1 'forwarded' to lead from the old key to the new one, or 'alone',
-- 2 the old member of its user's index, 3 the new one.
-- Returns {'done'} | {'forwarded', key} for one that was rotated before | {'gone'}.
-- Atomic: at no time is there neither session, and its user's index names one of them. All keys share a slot.
local old, new = KEYS[1], KEYS[2]
local about = redis.call('HMGET', old, '!a', '!r', '!i', '!f')
if about[4] then return {'forwarded', about[4]} end
if not about[1] or about[2] then return {'gone'} end
redis.call('RENAME', old, new)
tell('m', old, new)
local index = about[3]
local score = index and redis.call('ZSCORE', index, ARGV[2])
if score then
  redis.call('ZREM', index, ARGV[2])
  redis.call('ZADD', index, score, ARGV[3])
end
if ARGV[1] == 'forwarded' then
  redis.call('HSET', new, '!p', old)
  redis.call('HSET', old, '!f', new)
  redis.call('PEXPIRE', old, redis.call('PTTL', new))
end
return {'done'}
