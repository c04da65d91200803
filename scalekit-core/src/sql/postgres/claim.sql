-- Claims an id, or returns the record of the one who claimed it before.
-- $1 id bytea(32)  $2 fingerprint bytea or null  $3 retention in seconds, float8
-- $4 lock_timeout of this claim  $5 lock_timeout afterwards  $6 statement_timeout  $7 idle_in_transaction_session_timeout,
--    each as text in milliseconds
-- One row: taken, micros, isolation, position, and the record where it was not taken.
-- No row: another claim committed while this statement ran; claim_lookup.sql sees it.
-- Error 55P03: another transaction holds the claim and has not ended; roll back and wait outside.
-- The time-outs are set in a materialized CTE that the insert selects from, so that they hold when it may wait.
with bounds as materialized (
    select clock_timestamp() as at,
           set_config('lock_timeout', $4, true),
           set_config('statement_timeout', $6, true),
           set_config('idle_in_transaction_session_timeout', $7, true)
), known as materialized (
    select c.* from bounds, scalekit.claim c where c.id = $1 and c.retain_until > bounds.at
), taken as (
    insert into scalekit.claim as c (id, fingerprint, claimed_at, holder, retain_until)
    select $1, $2, bounds.at, pg_current_xact_id(), bounds.at + make_interval(secs => $3) from bounds
    where not exists (select from known)
    on conflict (id) do update
       set fingerprint = excluded.fingerprint, claimed_at = excluded.claimed_at,
           holder = excluded.holder, retain_until = excluded.retain_until,
           status = null, head = null, body = null, after_commit = null
     where c.retain_until <= excluded.claimed_at
    returning c.claimed_at
)
select true as taken, (extract(epoch from claimed_at) * 1000000)::bigint as micros,
       current_setting('transaction_isolation') as isolation, null::text as position,
       null::bytea as fingerprint, null::smallint as status, null::bytea as head, null::bytea as body,
       null::bytea as after_commit, set_config('lock_timeout', $5, true)
  from taken
union all
select false, (extract(epoch from claimed_at) * 1000000)::bigint,
       current_setting('transaction_isolation'), pg_current_wal_insert_lsn()::text,
       fingerprint, status, head, body, after_commit, set_config('lock_timeout', $5, true)
  from known
