-- Lists a user's live sessions and forgets the others.
-- KEYS[1]: the index. ARGV: 1 what the keys of its members start with, 2 most sessions.
-- Returns member, time of creation in ms, device and lineage in turn, newest first.
-- Atomic: an entry is forgotten only if its session is not there. All keys share a slot.
local found = {}
for _, member in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, tonumber(ARGV[2]) - 1)) do
  local about = redis.call('HMGET', ARGV[1] .. member, '!c', '!d', '!l')
  if about[1] then
    for _, text in ipairs({member, about[1], about[2] or '', about[3] or ''}) do found[#found + 1] = text end
  else
    redis.call('ZREM', KEYS[1], member)
  end
end
return found
