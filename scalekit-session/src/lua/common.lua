-- What the scripts of sessions share; it stands before each of them.
-- Times are ms by this server's clock; numbers above 2^31 are written out, since Lua would round them.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function whole(number) return string.format('%.0f', number) end

-- Where the session of a key is by the rotations since, and why the key opens it no more: 'past' the grace of one of
-- them, and for how many ms, or 'dead' since one that left no grace. All keys of a session share a slot.
local function follow(key, now)
  local over, since
  for _ = 1, 16 do
    local step = redis.call('HMGET', key, '!f', '!q', '!x')
    if not step[1] then break end
    if not over and step[3] then over = 'dead' end
    if not over and step[2] and now > tonumber(step[2]) then over, since = 'past', now - tonumber(step[2]) end
    key = step[1]
  end
  return key, over, since
end

-- Moves the idle deadline of a session if that gains a tenth of the idle time, never past the absolute one.
local function touch(key, came_by, idle, deadline, now)
  local wanted = math.min(now + idle, deadline)
  if wanted - now - redis.call('PTTL', key) < idle / 10 then return end
  redis.call('PEXPIREAT', key, whole(wanted))
  -- As long as nobody has read the session by its new key, the former one must not expire before it.
  if key ~= came_by and redis.call('HEXISTS', came_by, '!q') == 0 then
    redis.call('PEXPIREAT', came_by, whole(wanted))
  end
end

-- Tells those who watch: 'e' and the key of a session that has ended, or 'm', its former key and the one it has now.
-- A user of Redis who may not publish changes sessions all the same: then those who watch find out by looking.
local function tell(word, key, now_at)
  redis.pcall('PUBLISH', string.match(key, '^[^{]*') .. 'endings', word .. ' ' .. key .. (now_at and ' ' .. now_at or ''))
end

-- Ends the session of a key, if it is there; whether it was. 'mark' leaves a mark for 60 s, so that who comes by its
-- cookie meanwhile is told from one whose session has expired; 'retire' what can be read for 30 s.
local function finish(key, ending, now)
  if ending == 'retire' then
    redis.call('HSETNX', key, '!r', whole(now + 30000))
  elseif redis.call('DEL', key) == 1 then
    redis.call('HSET', key, '!x', 1)
  else
    return false
  end
  redis.call('PEXPIRE', key, 60000)
  tell('e', key)
  return true
end

-- All of a session, after a word.
local function with_fields(word, key)
  local all = redis.call('HGETALL', key)
  table.insert(all, 1, word)
  return all
end
