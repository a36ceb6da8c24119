-- A customer's orders in numbers: a view over a view.
-- key: customer_id
SELECT d.customer_id,
       COUNT(*) AS orders,
       COUNT(CASE WHEN d.status = 'placed' THEN 1 END) AS open,
       COUNT(CASE WHEN d.status = 'confirmed' THEN 1 END) AS confirmed,
       COUNT(CASE WHEN d.status = 'cancelled' THEN 1 END) AS cancelled,
       CAST(SUM(CASE WHEN d.status = 'confirmed' THEN d.total_cents ELSE 0 END) AS bigint) AS spent_cents,
       MAX(d.placed_at) AS last_placed_at
  FROM order_details d
 GROUP BY d.customer_id
