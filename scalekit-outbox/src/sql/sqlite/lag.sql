-- What waits to be acknowledged, on all lanes.
-- ?1 where counting stops
-- One row: seconds real (age of the oldest), events
select coalesce(unixepoch('subsec') - (
           select min((select e.at from scalekit_event e where e.lane = l.lane and e.seq > l.seq
                        order by e.seq limit 1))
             from scalekit_lane l) / 1000000.0, 0.0) as seconds,
       (select count(*) from (select 1 from scalekit_lane l join scalekit_event e on e.lane = l.lane and e.seq > l.seq
                               limit ?1)) as events
