-- Finds a session without using it.
-- KEYS[1]: one of its keys. Returns the key that it has now, or '' if it has ended.
-- Atomic, so that one that is rotated meanwhile is found by either key.
local key = follow(KEYS[1], clock())
local about = redis.call('HMGET', key, '!a', '!r')
return about[1] and not about[2] and key or ''
