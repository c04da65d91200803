-- Claims an id; the file's write lock is held, so nobody else can.
-- ?1 id blob(32)  ?2 fingerprint blob or null  ?3 retention in seconds, real
insert or replace into scalekit_claim (id, fingerprint, claimed_at, retain_until)
values (?1, ?2, cast(unixepoch('subsec') * 1000000 as integer), cast((unixepoch('subsec') + ?3) * 1000000 as integer))
returning claimed_at
