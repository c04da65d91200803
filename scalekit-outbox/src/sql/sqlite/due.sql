-- Parked events of keys of a lane that are due, in their order.
-- ?1 lane  ?2 most events  ?3 bytes of payload after which no further event is added
select p.seq, p.id, p.type, p.source, p.key, p.datacontenttype, p.traceparent, p.headers, p.data,
       strftime('%Y-%m-%dT%H:%M:%fZ', p.at / 1000000.0, 'unixepoch') as time
  from scalekit_parked p
  join (select n.seq, sum(n.bytes) over (order by n.seq) - n.bytes as bytes_before
          from (select q.seq, length(q.data) as bytes
                  from scalekit_parked q
                 where q.lane = ?1
                   and q.key in (select f.key from scalekit_parked f
                                  where f.lane = ?1 and f.retry_at <= unixepoch('subsec') * 1000000)
                 order by q.seq
                 limit ?2) n) fits
    on fits.seq = p.seq
 where p.lane = ?1 and fits.bytes_before < ?3
 order by p.seq
