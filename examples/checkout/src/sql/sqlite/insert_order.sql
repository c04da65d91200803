-- Places an order, unless the cart's generation has one already: no row is affected then.
-- ?1 order id  ?2 tenant  ?3 user  ?4 lineage  ?5 generation  ?6 total in cents  ?7 operation
insert into orders (order_id, tenant, user_id, lineage, generation, status, total_cents, operation)
values (?1, ?2, ?3, ?4, ?5, 'placed', ?6, ?7)
on conflict (lineage, generation) do nothing
