-- What brought in most, over all days from one on.
-- param: since date = '2000-01-01'
-- limit: 20
SELECT sku, SUM(items) AS items, SUM(revenue_cents) AS revenue_cents
  FROM revenue_per_day_and_product
 WHERE day >= :since
 GROUP BY sku
 ORDER BY revenue_cents DESC, sku
