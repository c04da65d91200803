create table if not exists scalekit_migration (
    line       text    not null,
    version    integer not null,
    name       text    not null,
    checksum   blob    not null,
    applied_at integer not null default (unixepoch()),
    primary key (line, version)
) without rowid
