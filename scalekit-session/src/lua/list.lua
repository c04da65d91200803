-- Lists a user's live sessions and forgets the others.
-- KEYS[1]: the index. ARGV: 1 what the keys of its members start with, 2 most sessions.
-- Returns member, time of creation in ms and device in turn, newest first.
-- Atomic: an entry is forgotten only if its session is not there. All keys share a slot.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. whole(clock()))
local found = {}
for _, member in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, tonumber(ARGV[2]) - 1)) do
  local about = redis.call('HMGET', ARGV[1] .. member, '!c', '!d')
  if about[1] then
    found[#found + 1] = member
    found[#found + 1] = about[1]
    found[#found + 1] = about[2] or ''
  else
    redis.call('ZREM', KEYS[1], member)
  end
end
return found
