-- The newest orders of a user.
-- ?1 tenant  ?2 user  ?3 how many at most
select o.order_id, o.tenant, o.status, o.total_cents,
       (select json_group_array(json_object('sku', i.sku, 'quantity', i.quantity) order by i.sku)
          from order_items i where i.order_id = o.order_id) as items
  from orders o
 where o.tenant = ?1 and o.user_id = ?2
 order by o.created_at desc, o.order_id desc
 limit ?3
