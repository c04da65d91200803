-- Notes that parked events were refused again. Those of a lane that has another owner, or a later epoch, are left alone.
-- $1 relay, text. One element per event: $2 lane smallint[]  $3 epoch bigint[]  $4 tick bigint[]  $5 seq bigint[]
-- $6 reason text[]  $7 seconds until it is tried again, float8[] (null for never)
-- A relay that is halted here must not hold the others up: its session ends after two seconds.
with bounds as materialized (
    select set_config('idle_in_transaction_session_timeout', '2000', true)
), held as materialized (
    select l.lane, l.epoch
      from scalekit.lane l, bounds
     where l.owner = $1::uuid and l.lane = any ($2)
       for update of l
)
update scalekit.parked as q
   set attempts = q.attempts + 1, reason = a.reason,
       retry_at = clock_timestamp() + make_interval(secs => a.retry)
  from unnest($2::smallint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::float8[])
       as a (lane, epoch, tick, seq, reason, retry), held
 where q.lane = a.lane and q.tick = a.tick and q.seq = a.seq and held.lane = a.lane and held.epoch = a.epoch
