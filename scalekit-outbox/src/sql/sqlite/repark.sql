-- Notes that a parked event was refused again.
-- ?1 lane  ?2 seq  ?3 reason  ?4 seconds until it is tried again, real (null for never)
update scalekit_parked
   set attempts = attempts + 1, reason = ?3, retry_at = cast((unixepoch('subsec') + ?4) * 1000000 as integer)
 where lane = ?1 and seq = ?2
