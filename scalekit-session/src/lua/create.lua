-- Creates a session, enters it in its user's index, and removes the session it replaces.
-- KEYS: 1 the session; 2 the index, if it has a user; 3 the session it replaces.
-- ARGV: 1 idle ms, 2 absolute ms, 3 'new' or 'again', 4 the version of the replaced one, 5 the member in the index,
-- 6 what the keys of the index's members start with, 7 most sessions of a user, then fields and values in turn.
-- Returns {'done'} | {'taken'} | {'changed', fields and values of the replaced one in turn}.
-- Atomic: at no time is there neither session, and a revocation of the index sees both or only the new one.
-- All keys share a slot, those of the index's members too.
local key, index, old = KEYS[1], KEYS[2], KEYS[3]
if ARGV[3] == 'new' and redis.call('EXISTS', key) == 1 then return {'taken'} end
if old and redis.call('EXISTS', old) == 1 and redis.call('HGET', old, '!v') ~= ARGV[4] then
  local all = redis.call('HGETALL', old)
  table.insert(all, 1, 'changed')
  return all
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local deadline = now + tonumber(ARGV[2])

redis.call('DEL', key)
for at = 8, #ARGV, 2 do redis.call('HSET', key, ARGV[at], ARGV[at + 1]) end
redis.call('HSET', key, '!v', 1, '!c', string.format('%.0f', now), '!a', string.format('%.0f', deadline))
redis.call('PEXPIREAT', key, string.format('%.0f', math.min(now + tonumber(ARGV[1]), deadline)))

if old then
  local before = redis.call('HGET', old, '!i')
  if before then redis.call('ZREM', before, string.sub(old, #ARGV[6] + 1)) end
  redis.call('DEL', old)
end
if index then
  redis.call('HSET', key, '!i', index)
  redis.call('ZREMRANGEBYSCORE', index, '-inf', string.format('(%.0f', now))
  redis.call('ZADD', index, string.format('%.0f', deadline), ARGV[5])
  local over = redis.call('ZCARD', index) - tonumber(ARGV[7])
  if over > 0 then
    for _, member in ipairs(redis.call('ZRANGE', index, 0, over - 1)) do
      if member ~= ARGV[5] then
        redis.call('UNLINK', ARGV[6] .. member)
        redis.call('ZREM', index, member)
      end
    end
  end
  local last = redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')
  redis.call('PEXPIREAT', index, string.format('%.0f', tonumber(last[2])))
end
return {'done'}
