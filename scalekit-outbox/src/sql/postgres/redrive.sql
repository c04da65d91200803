-- Makes a parked event due, and with it its key.
-- $1 event id, text
-- A relay that is halted here must not hold the others up: its session ends after two seconds.
with bounds as materialized (
    select set_config('idle_in_transaction_session_timeout', '2000', true)
)
update scalekit.parked set retry_at = clock_timestamp() from bounds where id = $1::uuid
