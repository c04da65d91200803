-- Ends all sessions of a user, or all but one.
-- KEYS[1]: the index. ARGV: 1 what the keys of its members start with, 2 the member to keep, by any of its keys, or ''.
-- Returns how many were there and are not any more.
-- Atomic: a sign-in at the same time is in the index and goes, or comes after. All keys share a slot. The index
-- is bounded by the most sessions of a user, which every sign-in enforces.
local now = clock()
local kept = ARGV[2] ~= '' and follow(ARGV[1] .. ARGV[2], now)
local ended = 0
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local key = ARGV[1] .. member
  if key ~= kept then
    if finish(key, 'mark', now) then ended = ended + 1 end
    redis.call('ZREM', KEYS[1], member)
  end
end
return ended
