"""The composition root: the only file that knows where anything is stored."""

from tests.shop.catalog import catalog
from tests.shop.orders import orders
from tests.shop.payments import payments
from tests.shop.summary import order_summary

from syncline import App, SQLite, Triggers

app = App(
    orders.on(SQLite("orders.db")),
    payments.on(SQLite("payments.db")),
    catalog.on(SQLite("catalog.db"), capture=Triggers()),
    order_summary.on(SQLite("read.db")),
)
