-- Marks an order that waits for its payment; no row is affected if it was marked before.
-- $1 order id, uuid as text  $2 status
update orders set status = $2 where order_id = $1::uuid and status = 'placed'
