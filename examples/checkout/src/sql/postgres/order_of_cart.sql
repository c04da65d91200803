-- The order of a cart's generation.
-- $1 lineage  $2 generation
select o.operation,
       (select json_agg(json_build_object('sku', i.sku, 'quantity', i.quantity) order by i.sku)
          from order_items i where i.order_id = o.order_id)::text as items
  from orders o
 where o.lineage = $1 and o.generation = $2
