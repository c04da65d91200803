-- Changes a session that exists: all changes or none.
-- KEYS[1]: the session. ARGV: 1 idle ms, 2 step ms, 3 operation id or '', 4 most fields, 5 most bytes, then for each
-- change four: s field value '' | r field '' '' | a field step floor | c field =old =new (no = : not set).
-- Returns {'done'} | {'before'} | {'missing'} | {'ended'} | {'conflict', fields and values in turn} | {'full'} | {'number'}.
-- Atomic: everything is checked before the first write, since a script cannot be rolled back.
local key = KEYS[1]
local deadline = tonumber(redis.call('HGET', key, '!a'))
if not deadline then return redis.call('EXISTS', key) == 1 and {'ended'} or {'missing'} end

-- The newest 16 operations: a low-water mark and the ids above it, 32 characters each, in order.
local operation, marks = ARGV[3], nil
if operation ~= '' then
  local known = redis.call('HGET', key, '!o') or string.rep('0', 32)
  if operation <= string.sub(known, 1, 32) then return {'before'} end
  marks = {operation}
  for at = 33, #known, 32 do
    local id = string.sub(known, at, at + 31)
    if id == operation then return {'before'} end
    marks[#marks + 1] = id
  end
  table.sort(marks)
  local low = string.sub(known, 1, 32)
  if #marks > 16 then low = table.remove(marks, 1) end
  marks = low .. table.concat(marks)
end

local grows = 0
for at = 6, #ARGV, 4 do
  local verb, field = ARGV[at], ARGV[at + 1]
  local value = redis.call('HGET', key, field)
  if verb == 'c' and (value and '=' .. value or '') ~= ARGV[at + 2] then
    local all = redis.call('HGETALL', key)
    table.insert(all, 1, 'conflict')
    return all
  end
  -- Fifteen digits and a step of thirteen stay exact, in Lua too.
  if verb == 'a' and value and not (#value <= 16 and string.match(value, '^-?%d+$')) then return {'number'} end
  if verb == 's' then grows = grows + #ARGV[at + 2] - #(value or '') end
  if verb == 'c' then grows = grows + #ARGV[at + 3] - #(value or '') end
  if verb ~= 'r' and not value then grows = grows + #field + 20 end
end
-- What a transaction has committed is never refused for its size: nobody could make it good.
if grows > 0 and operation == '' then
  local all, bytes = redis.call('HGETALL', key), grows
  for at = 1, #all do bytes = bytes + #all[at] end
  if bytes > tonumber(ARGV[5]) or #all / 2 + (#ARGV - 5) / 4 > tonumber(ARGV[4]) then
    -- Near the limit of fields, count only those that are new.
    local new = 0
    for at = 6, #ARGV, 4 do
      if ARGV[at] ~= 'r' and redis.call('HEXISTS', key, ARGV[at + 1]) == 0 then new = new + 1 end
    end
    if bytes > tonumber(ARGV[5]) or #all / 2 + new > tonumber(ARGV[4]) then return {'full'} end
  end
end

for at = 6, #ARGV, 4 do
  local verb, field = ARGV[at], ARGV[at + 1]
  if verb == 's' then redis.call('HSET', key, field, ARGV[at + 2])
  elseif verb == 'c' then redis.call('HSET', key, field, string.sub(ARGV[at + 3], 2))
  elseif verb == 'r' then redis.call('HDEL', key, field)
  elseif redis.call('HINCRBY', key, field, ARGV[at + 2]) <= 0 and ARGV[at + 3] == '1' then
    redis.call('HDEL', key, field)
  end
end
if marks then redis.call('HSET', key, '!o', marks) end
redis.call('HINCRBY', key, '!v', 1)

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local wanted = math.min(now + tonumber(ARGV[1]), deadline)
if wanted - now - redis.call('PTTL', key) >= tonumber(ARGV[2]) then
  redis.call('PEXPIREAT', key, string.format('%.0f', wanted))
end
return {'done'}
