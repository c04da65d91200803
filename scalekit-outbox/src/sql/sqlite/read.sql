-- The next events of a lane.
-- ?1 lane  ?2 seq that is acknowledged  ?3 most events
select e.seq, e.id, e.type, e.source, e.key, e.datacontenttype, e.traceparent, e.headers, e.data,
       strftime('%Y-%m-%dT%H:%M:%fZ', e.at / 1000000.0, 'unixepoch') as time,
       exists (select 1 from scalekit_parked q where q.lane = e.lane and q.key = e.key) as behind
  from scalekit_event e
 where e.lane = ?1 and e.seq > ?2
 order by e.seq
 limit ?3
