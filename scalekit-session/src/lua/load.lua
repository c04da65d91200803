-- Opens a session in whatever state it is: follows rotations, notes its first use, moves its idle deadline.
-- KEYS[1]: its key. ARGV: 1 idle ms, 2 grace ms.
-- Returns a word, a key and fields with their values in turn: 'live' and its key | 'unread' or 'read', if it was
-- rotated, and its key now | 'reused' and its key now, with '!s' for how many ms the grace has been over | 'ended' |
-- 'missing'.
-- Atomic, so that a session that ends meanwhile is not given a new deadline.
local now = clock()
local key, over, since = follow(KEYS[1], now)
local all, at = redis.call('HGETALL', key), {}
if #all == 0 then return {'missing', '', {}} end
for i = 1, #all, 2 do at[all[i]] = all[i + 1] end
if over == 'dead' or not at['!a'] or (at['!r'] and now > tonumber(at['!r'])) then return {'ended', '', {}} end
if over then
  all[#all + 1], all[#all + 2] = '!s', whole(since)
  return {'reused', key, all}
end

local idle = tonumber(at['!t'] or ARGV[1])
if key == KEYS[1] then
  -- The secret has arrived: what it was to replace leads here for the grace only, and tells theft after that.
  local before = at['!p']
  if before and redis.call('HEXISTS', before, '!f') == 1 then
    redis.call('HSET', before, '!q', whole(now + ARGV[2]))
    redis.call('PEXPIRE', before, whole(idle + ARGV[2]))
  end
  if before then redis.call('HDEL', key, '!p') end
  -- The guest's session that it has replaced may be in another slot: the caller ends it.
  if at['!g'] then redis.call('HDEL', key, '!g') end
end
if not at['!r'] then touch(key, KEYS[1], idle, tonumber(at['!a']), now) end
local word = key == KEYS[1] and 'live' or redis.call('HEXISTS', KEYS[1], '!q') == 0 and 'unread' or 'read'
return {word, key, all}
