-- Events by their places, of each lane as many as fit.
-- One element per event, in order: $1 lane smallint[]  $2 xid bigint[]  $3 seq bigint[]
-- $4 bytes of payload after which no further event of a lane is added, bigint
-- Per event: the event, and behind (its key is parked).
select r.lane, r.seq, r.xid::text as xid, r.id::text as id, r.type, r.source, r.key, r.datacontenttype, r.traceparent,
       r.headers::text as headers, r.data,
       to_char(r.at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as time,
       exists (select from scalekit.parked q where q.lane = r.lane and q.key = r.key) as behind
  from (select e.*,
               sum(octet_length(e.data)) over (partition by e.lane order by e.seq) - octet_length(e.data)
               as bytes_before
          from unnest($1::smallint[], $2::bigint[], $3::bigint[]) as a (lane, xid, seq)
          join scalekit.event e on e.lane = a.lane and e.xid = a.xid::text::xid8 and e.seq = a.seq) r
 where r.bytes_before < $4
 order by r.lane, r.seq
