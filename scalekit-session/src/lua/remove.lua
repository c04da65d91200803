-- Removes a session, and its entry in its user's index.
-- KEYS[1]: the session. ARGV: 1 the version it must have, or '', 2 its member in the index, 3 for how many ms
-- a mark tells that it was ended, or 0.
-- Returns {'done'} | {'gone'} | {'changed', fields and values in turn}.
-- Atomic: a change that came in between is seen, and none can come after. The index shares the session's slot.
if redis.call('HEXISTS', KEYS[1], '!a') == 0 then return {'gone'} end
if ARGV[1] ~= '' and redis.call('HGET', KEYS[1], '!v') ~= ARGV[1] then
  local all = redis.call('HGETALL', KEYS[1])
  table.insert(all, 1, 'changed')
  return all
end
local index = redis.call('HGET', KEYS[1], '!i')
if index then redis.call('ZREM', index, ARGV[2]) end
redis.call('DEL', KEYS[1])
if ARGV[3] ~= '0' then
  redis.call('HSET', KEYS[1], '!x', 1)
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return {'done'}
