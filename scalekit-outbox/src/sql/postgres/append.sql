-- Appends events, in the order of the arrays, in the caller's transaction.
-- One element per event: $1 lane smallint[]  $2 id text[]  $3 type text[]  $4 source text[]  $5 key text[]
-- $6 datacontenttype text[]  $7 traceparent text[] (null for none)  $8 headers text[] (a JSON object, or null)
-- $9 data bytea[]
-- The lane is the top 6 bits of XXH3-64 (seed 0) over the byte 0x01 and the key in UTF-8.
insert into scalekit.event (lane, id, type, source, key, datacontenttype, traceparent, headers, data)
select lane, id::uuid, type, source, key, datacontenttype, traceparent, headers::jsonb, data
  from unnest($1::smallint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
              $9::bytea[])
       with ordinality as e (lane, id, type, source, key, datacontenttype, traceparent, headers, data, place)
 order by place
