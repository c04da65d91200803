-- Whether a relay's lanes have committed events that no closed window covers, or parked ones that are due.
-- $1 relay, text  $2 lanes that are busy, smallint[]
-- One row: events boolean, parked boolean
select exists (
           select from scalekit.lane l join scalekit.tick p on p.id = l.tick
            where l.owner = $1::uuid and not l.lane = any ($2)
              and (l.next_tick is not null
                   or exists (select from scalekit.event e
                               where e.lane = l.lane and e.xid >= pg_snapshot_xmax(p.snap))
                   or exists (select from pg_snapshot_xip(p.snap) x (xid) join scalekit.event e
                                  on e.lane = l.lane and e.xid = x.xid))
       ) as events,
       exists (
           select from scalekit.parked q join scalekit.lane l on l.lane = q.lane
            where q.retry_at <= clock_timestamp()
              and l.owner = $1::uuid and l.next_tick is null and not l.lane = any ($2)
       ) as parked
