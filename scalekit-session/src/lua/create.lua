-- Creates a session, enters it in its user's index, and ends the session it replaces.
-- KEYS: 1 the session; 2 the index, if it has a user; 3 the session it replaces.
-- ARGV: 1 idle ms, 2 absolute ms, 3 'new' or 'again', 4 the version of the replaced one, or '', 5 how that ends,
-- 6 the member in the index, 7 what the keys of the index's members start with, 8 most sessions of a user, then fields
-- and values in turn.
-- Returns {'done'} | {'taken'} | {'changed', fields and values of the replaced one in turn}, none if it has ended.
-- Atomic: at no time is there neither session, and a revocation of the index sees both or only the new one.
-- All keys share a slot, those of the index's members too; but outside of a Cluster the replaced one need not.
local key, index, old = KEYS[1], KEYS[2], KEYS[3]
local now = clock()
if ARGV[3] == 'new' and redis.call('EXISTS', key) == 1 then return {'taken'} end
local replaced
if old then
  old = follow(old, now)
  replaced = redis.call('HMGET', old, '!a', '!v', '!i')
  if ARGV[4] ~= '' and replaced[2] ~= ARGV[4] then return replaced[1] and with_fields('changed', old) or {'changed'} end
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
  local prefix, most = ARGV[7], tonumber(ARGV[8])
  redis.call('HSET', key, '!i', index)
  redis.call('ZADD', index, whole(now), ARGV[6])
  if redis.call('PTTL', index) < deadline - now then redis.call('PEXPIREAT', index, whole(deadline)) end
  -- Nobody tells the index of a session that expires. The oldest are looked at with each sign-in; all of them before
  -- one that lives has to go.
  local look = redis.call('ZCARD', index) > most and -1 or 7
  for _, member in ipairs(redis.call('ZRANGE', index, 0, look)) do
    if redis.call('EXISTS', prefix .. member) == 0 then redis.call('ZREM', index, member) end
  end
  for _, member in ipairs(redis.call('ZRANGE', index, 0, -1 - most)) do
    if member ~= ARGV[6] then
      finish(prefix .. member, 'mark', now)
      redis.call('ZREM', index, member)
    end
  end
end
return {'done'}
