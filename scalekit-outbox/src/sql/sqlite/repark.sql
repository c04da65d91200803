-- Notes that a parked event was refused again, unless its lane has another owner or a later epoch.
-- ?1 lane  ?2 seq  ?3 reason  ?4 seconds until it is tried again, real (null for never)  ?5 relay, text  ?6 epoch
update scalekit_parked
   set attempts = attempts + 1, reason = ?3, retry_at = cast((unixepoch('subsec') + ?4) * 1000000 as integer)
 where lane = ?1 and seq = ?2
   and exists (select 1 from scalekit_lane where lane = ?1 and owner = ?5 and epoch = ?6)
