-- Moves lanes of a relay that have nothing to send up to the newest tick, so that older ticks can be deleted.
-- $1 relay, text  $2 lanes that are busy, smallint[]
-- A relay that is halted here must not keep its lanes beyond its lease: its session ends after two seconds.
with bounds as materialized (select set_config('idle_in_transaction_session_timeout', '2000', true))
update scalekit.lane as l
   set tick = c.id
  from scalekit.tick p, (select id, snap, cluster from scalekit.tick order by id desc limit 1) c, bounds
 where p.id = l.tick and l.tick < c.id
   and l.owner = $1::uuid and l.next_tick is null and not l.lane = any ($2)
   -- Ticks of different systems cannot be compared.
   and (p.cluster = '' or split_part(p.cluster, '/', 1) = split_part(c.cluster, '/', 1)
                          and pg_snapshot_xmax(p.snap) <= pg_snapshot_xmax(c.snap))
   and not exists (select from scalekit.event e
                    where e.lane = l.lane and e.xid >= pg_snapshot_xmax(p.snap))
   and not exists (select from pg_snapshot_xip(p.snap) x (xid) join scalekit.event e
                       on e.lane = l.lane and e.xid = x.xid)
