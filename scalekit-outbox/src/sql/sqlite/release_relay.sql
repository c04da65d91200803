-- Forgets a relay that stops.
-- ?1 relay, text
delete from scalekit_relay where id = ?1
