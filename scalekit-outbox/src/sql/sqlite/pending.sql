-- Whether a relay's lanes have events to send, or parked ones that are due.
-- ?1 relay, text  ?2 lanes that are busy, a JSON array
-- One row: events, parked
select exists (
           select 1 from scalekit_lane l
            where l.owner = ?1 and l.lane not in (select value from json_each(?2))
              and exists (select 1 from scalekit_event e where e.lane = l.lane and e.seq > l.seq)
       ) as events,
       exists (
           select 1 from scalekit_parked q join scalekit_lane l on l.lane = q.lane
            where q.retry_at <= unixepoch('subsec') * 1000000
              and l.owner = ?1 and l.lane not in (select value from json_each(?2))
       ) as parked
