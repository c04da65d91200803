-- The next events of each open window of a relay, in the order of seq.
-- $1 relay, text  $2 lanes that are busy, smallint[]  $3 most events of a lane, bigint  $4 most bytes of a lane, bigint
-- Per event: lane, its epoch, tick and cluster, the event, behind (its key is parked), found (of this window, up to
-- $3 + 1). A lane whose window is used up: one row with found null.
-- A window is what its tick sees and the one before did not: transactions that began after the earlier snapshot, and
-- those that were running then.
select l.lane, l.epoch, l.next_tick as tick, c.epoch as cluster,
       r.found, r.seq, r.xid::text as xid, r.id::text as id, r.type, r.source, r.key, r.datacontenttype, r.traceparent,
       r.headers::text as headers, r.data,
       to_char(r.at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as time,
       exists (select from scalekit.parked q where q.lane = l.lane and q.key = r.key) as behind
  from scalekit.lane l
  join scalekit.tick p on p.id = l.tick
  join scalekit.tick c on c.id = l.next_tick
  left join lateral (
       select e.*,
              count(*) over () as found,
              row_number() over (order by e.seq) as place,
              sum(octet_length(e.data)) over (order by e.seq) - octet_length(e.data) as bytes_before
         from (select w.xid, w.seq
                 from (select e.xid, e.seq from scalekit.event e
                        where e.lane = l.lane
                          and e.xid >= pg_snapshot_xmax(p.snap) and e.xid < pg_snapshot_xmax(c.snap)
                          and pg_visible_in_snapshot(e.xid, c.snap) and e.seq > l.seq
                       union all
                       select e.xid, e.seq
                         from pg_snapshot_xip(p.snap) x (xid)
                         join scalekit.event e on e.lane = l.lane and e.xid = x.xid
                        where pg_visible_in_snapshot(e.xid, c.snap) and e.seq > l.seq) w
                order by w.seq
                limit $3 + 1) k
         join scalekit.event e on e.lane = l.lane and e.xid = k.xid and e.seq = k.seq
       ) r on r.place <= $3 and r.bytes_before < $4
 where l.owner = $1::uuid and l.next_tick is not null and not l.lane = any ($2)
 order by l.lane, r.seq
