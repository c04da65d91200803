-- Moves lanes with parked events that are due to a new tick: those events come after all that were sent before.
-- ?1 relay, text  ?2 lanes that are busy, a JSON array
-- Rows: lane, epoch, tick
update scalekit_lane
   set tick = tick + 1
 where owner = ?1 and lane not in (select value from json_each(?2))
   and lane in (select lane from scalekit_parked where retry_at <= unixepoch('subsec') * 1000000)
returning lane, epoch, tick
