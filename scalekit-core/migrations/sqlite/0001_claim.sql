create table if not exists scalekit_claim (
    id           blob    not null primary key check (length(id) = 32),
    fingerprint  blob,
    claimed_at   integer not null,
    retain_until integer not null,
    status       integer,
    head         blob,
    body         blob,
    after_commit blob
) without rowid;
create index if not exists scalekit_claim_retain_until on scalekit_claim (retain_until);
