-- Makes a parked event due, and with it its key.
-- ?1 event id, text
update scalekit_parked set retry_at = cast(unixepoch('subsec') * 1000000 as integer) where id = ?1
