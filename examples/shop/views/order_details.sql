-- What the customer sees of an order: four services, one row. It fills in as they answer.
-- key: order_id
-- index: customer_id, placed_at
-- index: status
SELECT h.order_id, h.customer_id, c.name AS customer, c.city, h.placed_at,
       COUNT(l.sku) AS lines,
       SUM(l.quantity) AS items,
       SUM(l.quantity * l.price_cents) AS total_cents,
       h.status, h.reason,
       r.state AS stock,
       p.status AS payment
  FROM orders.header h
  JOIN orders.line l ON l.order_id = h.order_id
  LEFT JOIN customers.customer c ON c.customer_id = h.customer_id
  LEFT JOIN inventory.reservation r ON r.order_id = h.order_id
  LEFT JOIN payments.payment p ON p.order_id = h.order_id
 GROUP BY h.order_id, h.customer_id, c.name, c.city, h.placed_at, h.status, h.reason, r.state, p.status
