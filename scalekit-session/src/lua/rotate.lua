-- Moves a session to another key.
-- KEYS: 1 the session, 2 its new key. ARGV: 1 'forwarded' to lead from the old key to the new one, or 'alone',
-- 2 the old member of its user's index, 3 the new one.
-- Returns {'done'} | {'forwarded', key} for one that was rotated before | {'gone'}.
-- Atomic: at no time is there neither session, and its user's index names one of them. All keys share a slot.
local old, new, alone = KEYS[1], KEYS[2], ARGV[1] == 'alone'
local over
old, over = follow(old, clock())
if old ~= KEYS[1] and not alone then return {'forwarded', old} end
local about = redis.call('HMGET', old, '!a', '!r', '!i')
if over or not about[1] or about[2] then return {'gone'} end
redis.call('RENAME', old, new)
tell('m', old, new)
local index, member = about[3], string.sub(old, #KEYS[1] - #ARGV[2] + 1)
local score = index and redis.call('ZSCORE', index, member)
if score then
  redis.call('ZREM', index, member)
  redis.call('ZADD', index, score, ARGV[3])
end
-- Also where the old key opens nothing from now on, what a transaction has committed finds the session by it.
redis.call('HSET', old, '!f', new)
if alone then redis.call('HSET', old, '!x', 1) else redis.call('HSET', new, '!p', old) end
redis.call('PEXPIRE', old, redis.call('PTTL', new))
return {'done'}
