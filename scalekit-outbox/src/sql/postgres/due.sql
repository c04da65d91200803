-- Parked events of keys that are due, in their order, on lanes of a relay that have no open window.
-- $1 relay, text  $2 lanes that are busy, smallint[]  $3 most events of a lane, bigint  $4 a new tick, bigint
-- $5 bytes of payload after which no further event of a lane is added, bigint
-- Per event: lane, its epoch, tick and cluster for the log, the event, and the tick and seq it is parked under.
select l.lane, l.epoch, c.id as tick, c.epoch as cluster, r.place as found,
       r.tick as parked_tick, r.seq, r.id::text as id, r.type, r.source, r.key, r.datacontenttype, r.traceparent,
       r.headers::text as headers, r.data,
       to_char(r.at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as time
  from scalekit.lane l
  join scalekit.tick c on c.id = $4 and c.id > l.tick
 cross join lateral (
       select p.*, row_number() over (order by p.tick, p.seq) as place,
              sum(octet_length(p.data)) over (order by p.tick, p.seq) - octet_length(p.data) as bytes_before
         from (select q.*
                 from scalekit.parked q
                where q.lane = l.lane
                  and q.key in (select f.key from scalekit.parked f
                                 where f.lane = l.lane and f.retry_at <= clock_timestamp())
                order by q.tick, q.seq
                limit $3) p
       ) r
 where l.owner = $1::uuid and l.next_tick is null and not l.lane = any ($2) and r.bytes_before < $5
 order by l.lane, r.tick, r.seq
