-- Deletes ticks that no lane stands on, the oldest $1 (bigint) at most, and relays that are gone for $2 seconds (float8).
with relays as (
    delete from scalekit.relay r
     where r.beat < clock_timestamp() - make_interval(secs => $2)
       and not exists (select from scalekit.lane l where l.owner = r.id)
)
delete from scalekit.tick
 where id in (select t.id from scalekit.tick t
               where t.id < (select min(tick) from scalekit.lane)
               order by t.id limit $1)
