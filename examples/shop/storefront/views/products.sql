-- The shop window: what there is, what it costs, and how many can be had.
-- key: sku
SELECT p.sku, p.title, p.category, p.price_cents, s.on_hand - s.reserved AS available
  FROM inventory.product p
  JOIN inventory.stock s ON s.sku = p.sku
