-- Takes lanes over that nobody owns or whose owner's lease has run out, up to a fair share.
-- ?1 relay, text  ?2 lease in seconds, real
with live (id) as materialized (
    select id from scalekit_relay where beat > (unixepoch('subsec') - ?2) * 1000000
)
update scalekit_lane
   set owner = ?1, epoch = epoch + 1
 where lane in (
       select lane from scalekit_lane
        where owner is null or owner not in (select id from live)
        order by lane
        limit max((64 + (select count(*) from live) - 1) / (select count(*) from live)
                  - (select count(*) from scalekit_lane where owner = ?1), 0))
