-- Takes lanes over that nobody owns or whose owner's lease has run out, up to a fair share.
-- Only for a transaction that beat.sql made the only one to do so.
-- $1 relay, text  $2 lease in seconds, float8
with live as materialized (
    select array_agg(id) as ids, count(*) as relays
      from scalekit.relay
     where beat > clock_timestamp() - make_interval(secs => $2)
), free as materialized (
    select lane
      from scalekit.lane, live
     where owner is null or not owner = any (live.ids)
     order by lane
     limit (select greatest(ceil(64.0 / relays)::bigint
                            - (select count(*) from scalekit.lane where owner = $1::uuid), 0) from live)
       for update of lane skip locked
)
update scalekit.lane as l
   set owner = $1::uuid, epoch = l.epoch + 1
  from free
 where l.lane = free.lane
