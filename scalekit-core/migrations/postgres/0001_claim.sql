create schema if not exists scalekit;

create table if not exists scalekit.claim (
    id           bytea       not null primary key check (octet_length(id) = 32),
    fingerprint  bytea,
    claimed_at   timestamptz not null,
    holder       xid8        not null,
    retain_until timestamptz not null,
    status       smallint,
    head         bytea,
    body         bytea,
    after_commit bytea
);
create index if not exists claim_retain_until on scalekit.claim (retain_until);
