-- Renews a relay's lease, and asks for the right to take lanes over until the transaction ends.
-- $1 relay, text
-- One row: alone, whether no other relay is taking lanes over now.
-- A process that is halted in this transaction must not hold the others up: its session ends after two seconds. While
-- another relay rebases, waiting ends before the client gives up, which would leave a session behind that waits on.
with bounds as materialized (
    select set_config('idle_in_transaction_session_timeout', '2000', true), set_config('lock_timeout', '4000', true)
), beat as (
    insert into scalekit.relay (id, beat) select $1::uuid, clock_timestamp() from bounds
    on conflict (id) do update set beat = excluded.beat
)
select pg_try_advisory_xact_lock(4301744821705933846) as alone
