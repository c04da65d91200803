-- Parked events of keys of a lane that are due, in their order.
-- ?1 lane  ?2 most events
select q.seq, q.id, q.type, q.source, q.key, q.datacontenttype, q.traceparent, q.headers, q.data,
       strftime('%Y-%m-%dT%H:%M:%fZ', q.at / 1000000.0, 'unixepoch') as time
  from scalekit_parked q
 where q.lane = ?1
   and q.key in (select f.key from scalekit_parked f
                  where f.lane = ?1 and f.retry_at <= unixepoch('subsec') * 1000000)
 order by q.seq
 limit ?2
