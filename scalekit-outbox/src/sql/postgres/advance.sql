-- Moves lanes of a relay that have nothing to send up to the newest tick, so that older ticks can be deleted.
-- $1 relay, text  $2 lanes that are busy, smallint[]
update scalekit.lane as l
   set tick = c.id
  from scalekit.tick p, (select id, snap from scalekit.tick order by id desc limit 1) c
 where p.id = l.tick and l.tick < c.id
   and l.owner = $1::uuid and l.next_tick is null and not l.lane = any ($2)
   and not exists (select from scalekit.event e
                    where e.lane = l.lane and e.xid >= pg_snapshot_xmax(p.snap))
   and not exists (select from pg_snapshot_xip(p.snap) x (xid) join scalekit.event e
                       on e.lane = l.lane and e.xid = x.xid)
