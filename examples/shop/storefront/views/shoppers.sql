-- Who may be buying.
-- key: customer_id
SELECT c.customer_id, c.name, c.city
  FROM customers.customer c
