-- Lets go of all lanes of a relay that stops.
-- $1 relay, text
-- A relay that is halted here must not hold the others up: its session ends after two seconds.
with bounds as materialized (
    select set_config('idle_in_transaction_session_timeout', '2000', true)
), gone as (
    delete from scalekit.relay using bounds where id = $1::uuid
)
update scalekit.lane set owner = null from bounds where owner = $1::uuid
