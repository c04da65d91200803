-- Lets go of all lanes of a relay that stops.
-- ?1 relay, text
update scalekit_lane set owner = null where owner = ?1
