-- What the scripts of sessions share; it stands before each of them.
-- Times are ms by this server's clock; numbers above 2^31 are written out, since Lua would round them.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function whole(number) return string.format('%.0f', number) end

-- Where the session of a key is by the rotations since. Past the grace of one, false and where it is; but `late`
-- follows all the same. All keys of a session share a slot.
local function follow(key, now, late)
  for _ = 1, 16 do
    local step = redis.call('HMGET', key, '!f', '!q')
    if not step[1] then return key end
    key = step[1]
    if step[2] and now > tonumber(step[2]) and not late then return false, key end
  end
  return false, key
end

-- Tells those who watch: 'e' and the key of a session that has ended, or 'm', its former key and the one it has now.
-- A user of Redis who may not publish changes sessions all the same: then those who watch find out by looking.
local function tell(word, key, now_at)
  redis.pcall('PUBLISH', string.match(key, '^[^{]*') .. 'endings', word .. ' ' .. key .. (now_at and ' ' .. now_at or ''))
end

-- Ends the session of a key: 'remove' leaves nothing, 'mark' a mark for 60 s, 'retire' what can be read for 30 s.
local function finish(key, ending, now)
  if ending == 'retire' then
    redis.call('HSETNX', key, '!r', whole(now + 30000))
  else
    redis.call('DEL', key)
    tell('e', key)
    if ending == 'mark' then redis.call('HSET', key, '!x', 1) end
  end
  if ending ~= 'remove' then redis.call('PEXPIRE', key, 60000) end
end

-- All of a session, after a word.
local function with_fields(word, key)
  local all = redis.call('HGETALL', key)
  table.insert(all, 1, word)
  return all
end
