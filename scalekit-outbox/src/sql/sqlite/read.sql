-- The next events of a lane.
-- ?1 lane  ?2 seq that is acknowledged  ?3 most events  ?4 bytes of payload after which no further event is added
select e.seq, e.id, e.type, e.source, e.key, e.datacontenttype, e.traceparent, e.headers, e.data,
       strftime('%Y-%m-%dT%H:%M:%fZ', e.at / 1000000.0, 'unixepoch') as time,
       exists (select 1 from scalekit_parked q where q.lane = e.lane and q.key = e.key) as behind
  from scalekit_event e
  join (select n.seq, sum(n.bytes) over (order by n.seq) - n.bytes as bytes_before
          from (select f.seq, length(f.data) as bytes
                  from scalekit_event f
                 where f.lane = ?1 and f.seq > ?2
                 order by f.seq
                 limit ?3) n) fits
    on fits.seq = e.seq
 where e.lane = ?1 and fits.bytes_before < ?4
 order by e.seq
