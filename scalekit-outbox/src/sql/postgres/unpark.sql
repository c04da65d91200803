-- Deletes parked events that were sent; the next of each key is due at once. Those of a lane that has another owner, or
-- a later epoch, are left alone.
-- $1 relay, text. One element per event: $2 lane smallint[]  $3 epoch bigint[]  $4 tick bigint[]  $5 seq bigint[]
-- A relay that is halted here must not hold the others up: its session ends after two seconds.
with bounds as materialized (
    select set_config('idle_in_transaction_session_timeout', '2000', true)
), held as materialized (
    select l.lane, l.epoch
      from scalekit.lane l, bounds
     where l.owner = $1::uuid and l.lane = any ($2)
       for update of l
), sent as (
    delete from scalekit.parked as q
     using unnest($2::smallint[], $3::bigint[], $4::bigint[], $5::bigint[]) as a (lane, epoch, tick, seq), held
     where q.lane = a.lane and q.tick = a.tick and q.seq = a.seq and held.lane = a.lane and held.epoch = a.epoch
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
