-- Lets go of lanes above a fair share.
-- ?1 relay, text  ?2 lease in seconds, real  ?3 lanes that are busy, a JSON array
with live (id) as materialized (
    select id from scalekit_relay where beat > (unixepoch('subsec') - ?2) * 1000000
)
update scalekit_lane
   set owner = null
 where lane in (
       select lane from scalekit_lane
        where owner = ?1 and lane not in (select value from json_each(?3))
        order by lane desc
        limit max((select count(*) from scalekit_lane where owner = ?1)
                  - (64 + (select count(*) from live) - 1) / max((select count(*) from live), 1), 0))
