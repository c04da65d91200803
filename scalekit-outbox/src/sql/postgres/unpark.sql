-- Deletes parked events that were sent; the next of each key is due at once.
-- One element per event: $1 lane smallint[]  $2 tick bigint[]  $3 seq bigint[]
-- A relay that is halted here must not hold the others up: its session ends after two seconds.
with bounds as materialized (
    select set_config('idle_in_transaction_session_timeout', '2000', true)
), sent as (
    delete from scalekit.parked as q
     using unnest($1::smallint[], $2::bigint[], $3::bigint[]) as a (lane, tick, seq), bounds
     where q.lane = a.lane and q.tick = a.tick and q.seq = a.seq
    returning q.lane, q.key, q.tick, q.seq
), next as (
    select distinct on (q.lane, q.key) q.lane, q.tick, q.seq
      from scalekit.parked q join sent s on s.lane = q.lane and s.key = q.key
     where not exists (select from sent t where t.lane = q.lane and t.tick = q.tick and t.seq = q.seq)
     order by q.lane, q.key, q.tick, q.seq
)
update scalekit.parked as q
   set retry_at = clock_timestamp()
  from next n
 where q.lane = n.lane and q.tick = n.tick and q.seq = n.seq
