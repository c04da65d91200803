-- Sets an event aside, in the transaction that acknowledges it.
-- ?1 lane  ?2 seq  ?3 reason (null for one behind another)  ?4 seconds until it is tried again, real (null for never)
insert or ignore into scalekit_parked (lane, seq, id, type, source, key, datacontenttype, traceparent, headers, data, at,
                                       reason, retry_at)
select lane, seq, id, type, source, key, datacontenttype, traceparent, headers, data, at, ?3,
       cast((unixepoch('subsec') + ?4) * 1000000 as integer)
  from scalekit_event
 where lane = ?1 and seq = ?2
