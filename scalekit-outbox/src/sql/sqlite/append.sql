-- Appends one event in the caller's transaction.
-- ?1 lane  ?2 id text  ?3 type  ?4 source  ?5 key  ?6 datacontenttype  ?7 traceparent or null
-- ?8 headers (a JSON object, or null)  ?9 data blob
insert into scalekit_event (lane, id, type, source, key, datacontenttype, traceparent, headers, data)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
