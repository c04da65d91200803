-- Creates a session, enters it in its user's index, and ends the session it replaces.
-- KEYS: 1 the session; 2 the index, if it has a user; 3 the session it replaces.
-- ARGV: 1 idle ms, 2 absolute ms, 3 'new' or 'again', 4 the version of the replaced one, or '', 5 how that ends,
-- 6 the member in the index, 7 what the keys of the index's members start with, 8 most sessions of a user, then fields
-- and values in turn.
-- Returns {'done'} | {'taken'} | {'changed', fields and values of the replaced one in turn}.
-- Atomic: at no time is there neither session, and a revocation of the index sees both or only the new one.
-- All keys share a slot, those of the index's members too; but outside of a Cluster the replaced one need not.
local key, index, old = KEYS[1], KEYS[2], KEYS[3]
local now = clock()
if ARGV[3] == 'new' and redis.call('EXISTS', key) == 1 then return {'taken'} end
local replaced
if old then
  local followed, where = follow(old, now, true)
  old = followed or where
  replaced = redis.call('HMGET', old, '!a', '!v', '!i')
  if replaced[1] and ARGV[4] ~= '' and replaced[2] ~= ARGV[4] then return with_fields('changed', old) end
end
local deadline = now + tonumber(ARGV[2])

redis.call('DEL', key)
for at = 9, #ARGV, 2 do redis.call('HSET', key, ARGV[at], ARGV[at + 1]) end
redis.call('HSET', key, '!v', 1, '!c', whole(now), '!a', whole(deadline))
redis.call('PEXPIREAT', key, whole(math.min(now + tonumber(ARGV[1]), deadline)))

if replaced and replaced[1] then
  if replaced[3] then redis.call('ZREM', replaced[3], string.sub(old, #ARGV[7] + 1)) end
  finish(old, ARGV[5], now)
end
if index then
  redis.call('HSET', key, '!i', index)
  redis.call('ZREMRANGEBYSCORE', index, '-inf', '(' .. whole(now))
  redis.call('ZADD', index, whole(deadline), ARGV[6])
  local over = redis.call('ZCARD', index) - tonumber(ARGV[8])
  if over > 0 then
    for _, member in ipairs(redis.call('ZRANGE', index, 0, over - 1)) do
      if member ~= ARGV[6] then
        if redis.call('UNLINK', ARGV[7] .. member) == 1 then tell('e', ARGV[7] .. member) end
        redis.call('ZREM', index, member)
      end
    end
  end
  local last = redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')
  redis.call('PEXPIREAT', index, whole(tonumber(last[2])))
end
return {'done'}
