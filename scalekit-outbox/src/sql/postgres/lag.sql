-- What waits to be acknowledged, on all lanes.
-- $1 where counting stops, bigint
-- One row: seconds float8 (age of the oldest), events bigint
with place as materialized (
    select l.lane, l.seq, p.snap as before, c.snap as open
      from scalekit.lane l
      join scalekit.tick p on p.id = l.tick
      left join scalekit.tick c on c.id = l.next_tick
)
select coalesce((
           select extract(epoch from clock_timestamp() - min(first.at))::float8
             from place
            cross join lateral (
                  select w.at
                    from ((select e.at, e.xid, e.seq from scalekit.event e
                            where e.lane = place.lane and e.xid >= pg_snapshot_xmax(place.before)
                              and not (place.open is not null and e.seq <= place.seq
                                       and pg_visible_in_snapshot(e.xid, place.open))
                            order by e.xid, e.seq limit 1)
                          union all
                          (select e.at, e.xid, e.seq
                             from pg_snapshot_xip(place.before) x (xid)
                             join scalekit.event e on e.lane = place.lane and e.xid = x.xid
                            where not (place.open is not null and e.seq <= place.seq
                                       and pg_visible_in_snapshot(e.xid, place.open))
                            limit 1)) w) first), 0) as seconds,
       (select count(*)
          from (select from place cross join lateral (
                       select from scalekit.event e
                        where e.lane = place.lane and e.xid >= pg_snapshot_xmax(place.before)
                          and not (place.open is not null and e.seq <= place.seq
                                   and pg_visible_in_snapshot(e.xid, place.open))
                       union all
                       select from pg_snapshot_xip(place.before) x (xid)
                         join scalekit.event e on e.lane = place.lane and e.xid = x.xid
                        where not (place.open is not null and e.seq <= place.seq
                                   and pg_visible_in_snapshot(e.xid, place.open))) waiting
                limit $1) counted) as events
