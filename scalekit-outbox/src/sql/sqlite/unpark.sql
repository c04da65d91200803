-- Deletes a parked event that was sent.
-- ?1 lane  ?2 seq
-- One row: key
delete from scalekit_parked where lane = ?1 and seq = ?2 returning key
