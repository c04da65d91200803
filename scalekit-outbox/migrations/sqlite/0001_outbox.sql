-- Appended events. One writer at a time: the order of seq is the order of the commits.
create table if not exists scalekit_event (
    seq             integer not null primary key autoincrement,
    lane            integer not null check (lane between 0 and 63),
    id              text    not null,
    type            text    not null,
    source          text    not null,
    key             text    not null,
    datacontenttype text    not null,
    traceparent     text,
    headers         text,
    data            blob    not null,
    at              integer not null default (cast(unixepoch('subsec') * 1000000 as integer))
);
create index if not exists scalekit_event_lane on scalekit_event (lane, seq);

-- Running relays; the lease of a relay's lanes is its beat, in microseconds since the epoch.
create table if not exists scalekit_relay (
    id   text    not null primary key,
    beat integer not null
) without rowid;

-- Where each lane stands: all up to seq is acknowledged. tick rises when parked events are sent again; it starts at
-- the clock, so that a file that is made anew goes on after the old.
create table if not exists scalekit_lane (
    lane  integer not null primary key check (lane between 0 and 63),
    owner text,
    epoch integer not null default 0,
    tick  integer not null default (cast(unixepoch('subsec') * 1000 as integer)),
    seq   integer not null default 0
);
insert or ignore into scalekit_lane (lane)
with recursive n (lane) as (select 0 union all select lane + 1 from n where lane < 63) select lane from n;

-- Events that their sink refused, and those of the same key behind them.
create table if not exists scalekit_parked (
    lane            integer not null,
    seq             integer not null,
    id              text    not null,
    type            text    not null,
    source          text    not null,
    key             text    not null,
    datacontenttype text    not null,
    traceparent     text,
    headers         text,
    data            blob    not null,
    at              integer not null,
    reason          text,
    retry_at        integer,
    attempts        integer not null default 1,
    parked_at       integer not null default (cast(unixepoch('subsec') * 1000000 as integer)),
    primary key (lane, seq)
) without rowid;
create index if not exists scalekit_parked_key on scalekit_parked (lane, key);
