create schema if not exists scalekit;
create table if not exists scalekit.migration (
    line       text        not null,
    version    integer     not null,
    name       text        not null,
    checksum   bytea       not null,
    applied_at timestamptz not null default now(),
    primary key (line, version)
)
