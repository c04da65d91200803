-- ?1 line text  ?2 version integer  ?3 name text  ?4 checksum blob
insert into scalekit_migration (line, version, name, checksum) values (?1, ?2, ?3, ?4)
