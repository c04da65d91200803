-- One order of a user; somebody else's is not there.
-- $1 order id, uuid as text  $2 tenant  $3 user
select o.order_id::text as order_id, o.tenant, o.status, o.total_cents,
       (select json_agg(json_build_object('sku', i.sku, 'quantity', i.quantity) order by i.sku)
          from order_items i where i.order_id = o.order_id)::text as items
  from orders o
 where o.order_id = $1::uuid and o.tenant = $2 and o.user_id = $3
