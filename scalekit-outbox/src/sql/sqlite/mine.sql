-- The lanes that a relay owns.
-- ?1 relay, text  ?2 lease in seconds, real
-- Rows: lane, epoch, fair
select lane, epoch,
       64 / max((select count(*) from scalekit_relay where beat > (unixepoch('subsec') - ?2) * 1000000), 1) as fair
  from scalekit_lane
 where owner = ?1
 order by lane
