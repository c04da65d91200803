-- Forgets relays that are gone for ?1 seconds (real).
delete from scalekit_relay
 where beat < (unixepoch('subsec') - ?1) * 1000000
   and id not in (select owner from scalekit_lane where owner is not null)
