-- Lets go of lanes above a fair share.
-- $1 relay, text  $2 lease in seconds, float8  $3 lanes that are busy, smallint[]
with live as materialized (
    select greatest(count(*), 1) as relays
      from scalekit.relay
     where beat > clock_timestamp() - make_interval(secs => $2)
), surplus as materialized (
    select lane
      from scalekit.lane
     where owner = $1::uuid and not lane = any ($3)
     order by lane desc
     limit (select greatest((select count(*) from scalekit.lane where owner = $1::uuid)
                            - ceil(64.0 / relays)::bigint, 0) from live)
)
update scalekit.lane as l
   set owner = null
  from surplus
 where l.lane = surplus.lane and l.owner = $1::uuid
