-- Notes that parked events were refused again.
-- One element per event: $1 lane smallint[]  $2 tick bigint[]  $3 seq bigint[]  $4 reason text[]
-- $5 seconds until it is tried again, float8[] (null for never)
-- A relay that is halted here must not hold the others up: its session ends after two seconds.
with bounds as materialized (
    select set_config('idle_in_transaction_session_timeout', '2000', true)
)
update scalekit.parked as q
   set attempts = q.attempts + 1, reason = a.reason,
       retry_at = clock_timestamp() + make_interval(secs => a.retry)
  from unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::text[], $5::float8[]) as a (lane, tick, seq, reason, retry),
       bounds
 where q.lane = a.lane and q.tick = a.tick and q.seq = a.seq
