-- Ends a session, and its entry in its user's index.
-- KEYS[1]: the session. ARGV: 1 the version it must have, or '', 2 its member in the index, 3 'mark' | 'retire'.
-- Returns {'done'} | {'gone'}, also for one whose content was taken over before | {'changed', fields and values in turn}.
-- Atomic: a change that came in between is seen, and none can come after. The index shares the session's slot.
local now = clock()
local key = follow(KEYS[1], now)
local about = redis.call('HMGET', key, '!a', '!v', '!i', '!r')
if not about[1] then return {'gone'} end
if ARGV[1] ~= '' and about[2] ~= ARGV[1] then return with_fields('changed', key) end
if about[3] and ARGV[3] ~= 'retire' then
  redis.call('ZREM', about[3], string.sub(key, #KEYS[1] - #ARGV[2] + 1))
end
finish(key, ARGV[3], now)
return {about[4] and ARGV[3] == 'mark' and 'gone' or 'done'}
