-- What was sold: confirmed orders alone.
-- key: day, sku
-- index: sku
SELECT l.day, l.sku,
       COUNT(*) AS orders,
       CAST(SUM(l.quantity) AS bigint) AS items,
       CAST(SUM(l.quantity * l.price_cents) AS bigint) AS revenue_cents
  FROM orders.line l
  JOIN orders.header h ON h.order_id = l.order_id
 WHERE h.status = 'confirmed'
 GROUP BY l.day, l.sku
