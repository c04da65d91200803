-- The lanes of a relay that have events to send.
-- ?1 relay, text  ?2 lanes that are busy, a JSON array
-- Rows: lane, epoch, tick, seq (acknowledged)
select l.lane, l.epoch, l.tick, l.seq
  from scalekit_lane l
 where l.owner = ?1 and l.lane not in (select value from json_each(?2))
   and exists (select 1 from scalekit_event e where e.lane = l.lane and e.seq > l.seq)
 order by l.lane
