-- Finds a session without using it.
-- KEYS[1]: one of its keys. Returns the key that it has now, or '' if it has ended.
-- Atomic, so that one that is rotated meanwhile is found by either key.
local key, where = follow(KEYS[1], clock(), true)
key = key or where
return redis.call('HEXISTS', key, '!a') == 1 and key or ''
