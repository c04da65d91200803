-- Acknowledges what was sent of a lane, unless it has another owner or a later epoch.
-- ?1 relay, text  ?2 lane  ?3 epoch  ?4 seq
update scalekit_lane set seq = max(seq, ?4) where lane = ?2 and owner = ?1 and epoch = ?3
