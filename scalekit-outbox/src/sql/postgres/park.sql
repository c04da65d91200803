-- Sets events aside, in the transaction that acknowledges them.
-- One element per event: $1 lane smallint[]  $2 tick bigint[]  $3 xid text[]  $4 seq bigint[]
-- $5 reason text[] (null for one behind another)  $6 seconds until it is tried again, float8[] (null for never)
insert into scalekit.parked (lane, tick, seq, id, type, source, key, datacontenttype, traceparent, headers, data, at,
                             reason, retry_at)
select e.lane, a.tick, e.seq, e.id, e.type, e.source, e.key, e.datacontenttype, e.traceparent, e.headers, e.data, e.at,
       a.reason, clock_timestamp() + make_interval(secs => a.retry)
  from unnest($1::smallint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::float8[])
       as a (lane, tick, xid, seq, reason, retry)
  join scalekit.event e on e.lane = a.lane and e.xid = a.xid::xid8 and e.seq = a.seq
    on conflict do nothing
