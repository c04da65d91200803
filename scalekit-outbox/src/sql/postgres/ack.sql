-- Acknowledges what was sent; a lane that has another owner, or a later epoch, is left alone.
-- $1 relay, text. One element per lane: $2 lane smallint[]  $3 epoch bigint[]  $4 seq bigint[]
-- $5 closed boolean[], whether the window is used up
-- Rows: lane, of those that were acknowledged.
-- A relay that is halted here must not keep its lanes beyond its lease: its session ends after two seconds.
with bounds as materialized (select set_config('idle_in_transaction_session_timeout', '2000', true))
update scalekit.lane as l
   set tick = case when a.closed then l.next_tick else l.tick end,
       next_tick = case when a.closed then null else l.next_tick end,
       seq = case when a.closed then 0 else greatest(l.seq, a.seq) end
  from unnest($2::smallint[], $3::bigint[], $4::bigint[], $5::boolean[]) as a (lane, epoch, seq, closed), bounds
 where l.lane = a.lane and l.owner = $1::uuid and l.epoch = a.epoch and l.next_tick is not null
returning l.lane
