-- The lines of an order, all in one statement.
-- ?1 order id  ?2 [{"sku", "quantity", "price_cents"}] as JSON text
insert into order_items (order_id, sku, quantity, price_cents)
select ?1, line.value ->> 'sku', line.value ->> 'quantity', line.value ->> 'price_cents'
  from json_each(?2) as line
