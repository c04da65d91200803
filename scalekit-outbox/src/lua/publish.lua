-- Adds events to a lane's stream, in order, each under its place in the log.
-- KEYS[1] stream
-- ARGV per event: the stream id, the event id, the number of fields and values, then those
-- Returns {events taken, '', ''} or {events taken before it, the stream id that clashes, the event id found there or ''}.
-- Atomic: whether an id that is not above the stream's last one is a repetition must be judged before anybody adds more.
-- A repetition is an id that is there with the same event; any other such id means that somebody else wrote the lane.
local taken, at = 0, 1
while at <= #ARGV do
  local place, event, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local command = {'XADD', KEYS[1], place}
  for i = at + 3, at + 2 + count do
    command[#command + 1] = ARGV[i]
  end
  local added = redis.pcall(unpack(command))
  if type(added) == 'table' and added.err then
    if not string.find(added.err, 'equal or smaller', 1, true) then
      return redis.error_reply(added.err)
    end
    local there = redis.call('XRANGE', KEYS[1], place, place)[1]
    local found = ''
    if there then
      for i = 1, #there[2], 2 do
        if there[2][i] == 'id' then found = there[2][i + 1] end
      end
    end
    if found ~= event then
      return {taken, place, found}
    end
  end
  taken = taken + 1
  at = at + 3 + count
end
return {taken, '', ''}
