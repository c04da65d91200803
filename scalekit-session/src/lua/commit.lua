-- Changes a session that exists: all changes or none.
-- KEYS[1]: the session. ARGV: 1 idle ms, 2 operation id or '', 3 most fields, 4 most bytes, then for each
-- change four: s field value '' | r field '' '' | a field step floor | l field entry most |
-- c field =old =new (no = : not set).
-- Returns {'done'} | {'before'} | {'missing'} | {'ended'} | {'conflict', fields and values in turn} | {'full'} | {'number'}.
-- Atomic: everything is checked before the first write, since a script cannot be rolled back.
local key, operation, now = KEYS[1], ARGV[2], clock()
local about = redis.call('HMGET', key, '!a', '!r', '!t')
if not about[1] then
  local over
  key, over = follow(key, now)
  -- What a transaction has committed arrives however long ago the session was rotated.
  if over and operation == '' then return {'ended'} end
  about = redis.call('HMGET', key, '!a', '!r', '!t')
  if not about[1] then return {redis.call('EXISTS', key) == 0 and 'missing' or 'ended'} end
end
if about[2] then return {'ended'} end
local deadline, idle = tonumber(about[1]), tonumber(about[3] or ARGV[1])

-- The newest 16 operations: a low-water mark and the ids above it, 32 characters each, in order.
local marks
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

-- Each field that changes: what it held, and what it will hold; false stands for nothing.
-- Up to 10^15, what is added stays exact, in Lua too.
local function counts(text)
  return #text <= 17 and string.match(text, '^-?%d+$') and math.abs(tonumber(text)) <= 1e15
end
local order, before, after = {}, {}, {}
for at = 5, #ARGV, 4 do
  local verb, field = ARGV[at], ARGV[at + 1]
  if before[field] == nil then
    local value = redis.call('HGET', key, field)
    order[#order + 1], before[field], after[field] = field, value, value
  end
  local value = before[field]
  if verb == 's' then after[field] = ARGV[at + 2]
  elseif verb == 'r' then after[field] = false
  elseif verb == 'c' then
    if (value and '=' .. value or '') ~= ARGV[at + 2] then return with_fields('conflict', key) end
    after[field] = ARGV[at + 3] ~= '' and string.sub(ARGV[at + 3], 2)
  elseif verb == 'l' then
    -- One entry a line; the first lines are the oldest.
    local text = after[field] and after[field] .. '\n' .. ARGV[at + 2] or ARGV[at + 2]
    local _, breaks = string.gsub(text, '\n', '\n')
    for _ = tonumber(ARGV[at + 3]), breaks do text = string.sub(text, string.find(text, '\n', 1, true) + 1) end
    after[field] = text
  else
    local text, step = after[field] or '0', ARGV[at + 2]
    if not (counts(text) and counts(step)) then return {'number'} end
    local sum = tonumber(text) + tonumber(step)
    if math.abs(sum) > 1e15 then return {'number'} end
    after[field] = (sum > 0 or ARGV[at + 3] ~= '1') and string.format('%.0f', sum)
  end
end

-- The size, without metadata: what grows beyond a limit is refused, what a commit frees counts for it.
-- What a transaction has committed is never refused for its size: nobody could make it good.
local more, bytes = 0, 0
for field, old in pairs(before) do
  local new = after[field]
  more = more + (new and 1 or 0) - (old and 1 or 0)
  bytes = bytes + (new and #field + #new or 0) - (old and #field + #old or 0)
end
if operation == '' and (more > 0 or bytes > 0) then
  local all, fields, held = redis.call('HGETALL', key), 0, 0
  for at = 1, #all, 2 do
    if string.sub(all[at], 1, 1) ~= '!' then fields, held = fields + 1, held + #all[at] + #all[at + 1] end
  end
  local most, most_bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
  if (more > 0 and fields + more > most) or (bytes > 0 and held + bytes > most_bytes) then return {'full'} end
end

for _, field in ipairs(order) do
  if after[field] then redis.call('HSET', key, field, after[field]) else redis.call('HDEL', key, field) end
end
if marks then redis.call('HSET', key, '!o', marks) end
redis.call('HINCRBY', key, '!v', 1)

touch(key, KEYS[1], idle, deadline, now)
return {'done'}
