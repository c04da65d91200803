-- The lines of an order, all in one statement.
-- $1 order id, uuid as text  $2 [{"sku", "quantity", "price_cents"}] as JSON text
insert into order_items (order_id, sku, quantity, price_cents)
select $1::uuid, line.sku, line.quantity, line.price_cents
  from jsonb_to_recordset($2::jsonb) as line(sku text, quantity bigint, price_cents bigint)
