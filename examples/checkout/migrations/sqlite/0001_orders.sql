create table if not exists orders (
    order_id    text    not null primary key,
    tenant      text    not null,
    user_id     text    not null,
    lineage     text    not null,
    generation  integer not null,
    status      text    not null check (status in ('placed', 'paid', 'declined')),
    total_cents integer not null check (total_cents > 0),
    operation   text    not null,
    created_at  real    not null default (unixepoch('subsec')),
    -- A cart is ordered once: each order takes it to its next generation.
    unique (lineage, generation)
) strict;
create index if not exists orders_of_user on orders (tenant, user_id, created_at desc);
create table if not exists order_items (
    order_id    text    not null references orders,
    sku         text    not null,
    quantity    integer not null check (quantity > 0),
    price_cents integer not null check (price_cents > 0),
    primary key (order_id, sku)
) strict;
