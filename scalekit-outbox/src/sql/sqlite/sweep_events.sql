-- Deletes events that are acknowledged and old enough, at most ?3.
-- ?1 relay, text  ?2 retention in seconds, real
delete from scalekit_event
 where seq in (
       select e.seq from scalekit_lane l join scalekit_event e on e.lane = l.lane and e.seq <= l.seq
        where l.owner = ?1 and e.at < (unixepoch('subsec') - ?2) * 1000000
        limit ?3)
