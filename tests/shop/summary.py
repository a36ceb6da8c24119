"""What the customer sees of an order: three services, one row."""

from syncline import View

order_summary = View(
    "order_summary",
    key="order_id",
    query="""
        SELECT h.order_id,
               h.customer,
               h.status,
               SUM(l.quantity * p.price_cents)   AS total_cents,
               COALESCE(pay.payment, 'unpaid')   AS payment
          FROM orders.header h
          JOIN orders.line l             ON l.order_id = h.order_id
          JOIN catalog.product p         ON p.sku = l.sku
          LEFT JOIN payments.payment pay ON pay.order_id = h.order_id
         GROUP BY h.order_id, h.customer, h.status, pay.payment
    """,
)
