-- Appended events: insert-only, deleted in chunks once relayed and old enough.
-- xid is the top-level transaction, which savepoints do not change.
create table if not exists scalekit.event (
    seq             bigint      not null generated always as identity,
    xid             xid8        not null default pg_current_xact_id(),
    lane            smallint    not null check (lane between 0 and 63),
    id              uuid        not null,
    type            text        not null,
    source          text        not null,
    key             text        not null,
    datacontenttype text        not null,
    traceparent     text,
    headers         jsonb,
    data            bytea       not null,
    at              timestamptz not null default clock_timestamp()
);
create index if not exists event_lane on scalekit.event (lane, xid, seq);

-- Stored snapshots: what a window of events lies between. epoch rises when the cluster's identity or timeline changes.
create table if not exists scalekit.tick (
    id      bigint      not null primary key,
    snap    pg_snapshot not null,
    epoch   integer     not null check (epoch between 0 and 65535),
    cluster text        not null,
    at      timestamptz not null default clock_timestamp()
);
-- The first one sees nothing. Ticks count on from the clock, so that a database that is made anew goes on after the old.
insert into scalekit.tick (id, snap, epoch, cluster)
select (extract(epoch from clock_timestamp()) * 1000)::bigint, '1:1:', 0, ''
 where not exists (select from scalekit.tick);

-- Running relays; the lease of a relay's lanes is its beat.
create table if not exists scalekit.relay (
    id   uuid        not null primary key,
    beat timestamptz not null
);

-- Where each lane stands: all up to tick is acknowledged, and of the window (tick, next_tick] all up to seq.
create table if not exists scalekit.lane (
    lane      smallint not null primary key check (lane between 0 and 63),
    owner     uuid,
    epoch     bigint   not null default 0,
    tick      bigint   not null,
    next_tick bigint,
    seq       bigint   not null default 0
) with (fillfactor = 50);
insert into scalekit.lane (lane, tick)
select lane, (select max(id) from scalekit.tick) from generate_series(0, 63) lane
    on conflict do nothing;

-- Events that their sink refused, and those of the same key behind them.
create table if not exists scalekit.parked (
    lane            smallint    not null,
    tick            bigint      not null,
    seq             bigint      not null,
    id              uuid        not null,
    type            text        not null,
    source          text        not null,
    key             text        not null,
    datacontenttype text        not null,
    traceparent     text,
    headers         jsonb,
    data            bytea       not null,
    at              timestamptz not null,
    reason          text,
    retry_at        timestamptz,
    attempts        integer     not null default 1,
    parked_at       timestamptz not null default clock_timestamp(),
    primary key (lane, tick, seq)
);
create index if not exists parked_key on scalekit.parked (lane, key);
create index if not exists parked_retry on scalekit.parked (lane, retry_at) where retry_at is not null;
