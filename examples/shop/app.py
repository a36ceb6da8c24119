"""The composition root: the only file that knows where anything is stored, and how each service is followed."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from syncline import App, NamedQuery, Polling, SQLite, Triggers, View

from .cards import cards, cards_told
from .charging import charging
from .checkout import DEADLINE_S, checkout
from .customers import customers
from .inventory import inventory, stock_told
from .orders import orders
from .payments import payments

HERE = Path(__file__).resolve().parent
FOLLOW: Mapping[str, Triggers | Polling] = MappingProxyType({"inventory": Triggers(), "customers": Polling(every_s=1.0)})
"""How those services are followed whose truth is tables, unless told otherwise; the others are followed by their events."""


def build(
    folder: Path,
    *,
    follow: Mapping[str, Triggers | Polling] = FOLLOW,
    deadline_s: float = DEADLINE_S,
    views: Sequence[View] = (),
) -> App:
    """The shop with all its databases in `folder`.

    `follow` may name services of FOLLOW; `deadline_s` is how long a payment may take; `views` are further ones.
    """
    if unknown := follow.keys() - FOLLOW.keys():
        raise ValueError(f"{', '.join(sorted(unknown))}: only these can be followed otherwise: {', '.join(FOLLOW)}")
    capture = {**FOLLOW, **follow}

    def at(name: str) -> SQLite:
        return SQLite(str(folder / f"{name}.db"))

    shown = [*(View.from_file(path) for path in sorted(HERE.glob("views/*.sql"))), *views]
    asked = [NamedQuery(path.stem, path.read_text("utf-8")) for path in sorted(HERE.glob("queries/*.sql"))]
    return App(
        orders.on(at("orders")),
        payments.on(at("payments")),
        inventory.on(at("inventory"), capture=capture["inventory"]),
        stock_told.on(at("inventory")),
        customers.on(at("customers"), capture["customers"]),
        cards.on(at("cards")),
        cards_told.on(at("cards")),
        checkout(deadline_s=deadline_s).on(at("sagas")),
        charging.on(at("sagas")),
        *(each.on(at("shop")) for each in [*shown, *asked]),
    )


app = build(Path(os.environ.get("SHOP_FOLDER", ".")))
