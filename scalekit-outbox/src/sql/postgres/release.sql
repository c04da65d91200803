-- Lets go of all lanes of a relay that stops.
-- $1 relay, text
with gone as (
    delete from scalekit.relay where id = $1::uuid
)
update scalekit.lane set owner = null where owner = $1::uuid
