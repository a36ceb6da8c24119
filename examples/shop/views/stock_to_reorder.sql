-- What the warehouse should order: less is left over than the product's mark.
-- key: sku
SELECT s.sku, p.title, s.on_hand - s.reserved AS left_over, s.reorder_at
  FROM inventory.stock s
  JOIN inventory.product p ON p.sku = s.sku
 WHERE s.on_hand - s.reserved < s.reorder_at
