-- Opens a window up to a tick on each lane of a relay that has events in it. The window stays as it is until it is
-- acknowledged, whoever owns the lane then, so an event keeps its place in the log.
-- $1 relay, text  $2 lanes that are busy, smallint[]  $3 tick, bigint
with bounds as materialized (
    select set_config('idle_in_transaction_session_timeout', '2000', true),
           set_config('synchronous_commit', case current_setting('synchronous_commit')
                                                when 'off' then 'on' when 'local' then 'on'
                                                else current_setting('synchronous_commit') end, true)
)
update scalekit.lane as l
   set next_tick = c.id, seq = 0
  from scalekit.tick p, scalekit.tick c, bounds
 where p.id = l.tick and c.id = $3 and l.tick < $3
   and l.owner = $1::uuid and l.next_tick is null and not l.lane = any ($2)
   -- Ticks of different systems cannot be compared.
   and (p.cluster = '' or split_part(p.cluster, '/', 1) = split_part(c.cluster, '/', 1)
                          and pg_snapshot_xmax(p.snap) <= pg_snapshot_xmax(c.snap))
   and (exists (select from scalekit.event e
                 where e.lane = l.lane and e.xid >= pg_snapshot_xmax(p.snap) and e.xid < pg_snapshot_xmax(c.snap)
                   and pg_visible_in_snapshot(e.xid, c.snap))
        or exists (select from pg_snapshot_xip(p.snap) x (xid) join scalekit.event e
                       on e.lane = l.lane and e.xid = x.xid
                    where pg_visible_in_snapshot(e.xid, c.snap)))
