-- The order of a cart's generation.
-- ?1 lineage  ?2 generation
select o.operation,
       (select json_group_array(json_object('sku', i.sku, 'quantity', i.quantity) order by i.sku)
          from order_items i where i.order_id = o.order_id) as items
  from orders o
 where o.lineage = ?1 and o.generation = ?2
