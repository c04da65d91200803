-- Whether a migration was applied, and what it was then.
-- ?1 line text  ?2 version integer
select checksum from scalekit_migration where line = ?1 and version = ?2
