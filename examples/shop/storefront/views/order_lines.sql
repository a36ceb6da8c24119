-- What an order is of: each line with its product's title.
-- key: order_id, sku
SELECT l.order_id, l.sku, p.title, l.quantity, l.price_cents
  FROM orders.line l
  LEFT JOIN inventory.product p ON p.sku = l.sku
