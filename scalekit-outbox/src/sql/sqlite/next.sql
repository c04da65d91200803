-- Makes the first parked event of a key due.
-- ?1 lane  ?2 key
update scalekit_parked
   set retry_at = cast(unixepoch('subsec') * 1000000 as integer)
 where lane = ?1 and seq = (select min(seq) from scalekit_parked where lane = ?1 and key = ?2)
