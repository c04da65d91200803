-- Makes a parked event due, and with it its key.
-- $1 event id, text
update scalekit.parked set retry_at = clock_timestamp() where id = $1::uuid
