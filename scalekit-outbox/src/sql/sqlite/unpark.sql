-- Deletes a parked event that was sent, unless its lane has another owner or a later epoch.
-- ?1 lane  ?2 seq  ?3 relay, text  ?4 epoch
-- One row: key
delete from scalekit_parked
 where lane = ?1 and seq = ?2
   and exists (select 1 from scalekit_lane where lane = ?1 and owner = ?3 and epoch = ?4)
returning key
