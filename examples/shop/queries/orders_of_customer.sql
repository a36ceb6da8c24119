-- A customer's orders, the newest first.
-- param: customer_id text
-- limit: 100
SELECT order_id, placed_at, items, total_cents, status, reason, stock, payment
  FROM order_details
 WHERE customer_id = :customer_id
 ORDER BY placed_at DESC, order_id
