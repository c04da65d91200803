-- The open windows of a relay, and which events are in them, in the order of seq.
-- $1 relay, text  $2 lanes that are busy, smallint[]  $3 lanes whose events are known, smallint[]
-- $4 most events of a lane, bigint  $5 most lanes to look into, bigint
-- Per lane: lane, its epoch, tick and cluster, seq (acknowledged), looked (whether it was looked into), and xids and seqs,
-- bigint[], of its events after seq.
-- A window is what its tick sees and the one before did not: transactions that began after the earlier snapshot, and
-- those that were running then. It is in the order of xid in the index, so all of it is looked through to sort it by
-- seq: hence once for many events, and not for lanes that are known.
with open as materialized (
    select l.lane, l.epoch, l.tick as before, l.next_tick, l.seq,
           not l.lane = any ($3)
           and row_number() over (partition by l.lane = any ($3) order by l.lane) <= $5 as looked
      from scalekit.lane l
     where l.owner = $1::uuid and l.next_tick is not null and not l.lane = any ($2)
)
select l.lane, l.epoch, l.next_tick as tick, c.epoch as cluster, l.seq, l.looked, w.xids, w.seqs
  from open l
  join scalekit.tick p on p.id = l.before
  join scalekit.tick c on c.id = l.next_tick
 cross join lateral (
       select coalesce(array_agg(k.xid::text::bigint order by k.seq), '{}') as xids,
              coalesce(array_agg(k.seq order by k.seq), '{}') as seqs
         from (select w.xid, w.seq
                 from (select e.xid, e.seq from scalekit.event e
                        where l.looked and e.lane = l.lane
                          and e.xid >= pg_snapshot_xmax(p.snap) and e.xid < pg_snapshot_xmax(c.snap)
                          and pg_visible_in_snapshot(e.xid, c.snap) and e.seq > l.seq
                       union all
                       select e.xid, e.seq
                         from pg_snapshot_xip(p.snap) x (xid)
                         join scalekit.event e on e.lane = l.lane and e.xid = x.xid
                        where l.looked and pg_visible_in_snapshot(e.xid, c.snap) and e.seq > l.seq) w
                order by w.seq
                limit $4) k
       ) w
 order by l.lane
