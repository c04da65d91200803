-- Renews a relay's lease.
-- ?1 relay, text
insert into scalekit_relay (id, beat) values (?1, cast(unixepoch('subsec') * 1000000 as integer))
on conflict (id) do update set beat = excluded.beat
