"""maintain: changes a second carried into a joined order view, in batches of 1,000 and of 1, beside hand-written SQL.

The view: per order its customer's name, its status, sum and count of its lines, reservation and payment status; LEFT JOINs over
five relations of three services; 200,000 orders of three lines. A batch is one transaction of a service that changes the status
of so many payments or orders, at random over all; the two take turns.

Included: all that a round of the relay does, from the probe of the three sources to the commit of mirrors, view, change feed
and checkpoint, and every 0.25 s the sync of the read store and the deletion of applied marks. Not included: the writer's own
transaction (`capture_cost` measures what the triggers add to it), and the pause of an idle relay (`latency` measures that).
"""

from dataclasses import replace
from statistics import median

from figures import Table, share, spread
from race import Label, Pace, opened_sides, race
from shop import BY_HAND, SYNCLINE, WITHOUT_DIFFERENCE, Ground

ASKED = {
    "SQLite": {1_000: "30,000 changes/s, and 75 % of the same work as hand-written SQL", 1: "5,000 changes/s"},
    "PostgreSQL": {1_000: "25,000 changes/s, and 5 times deltaflow-pg", 1: ""},
}


def measure(ground: Ground, *, quick: bool) -> list[Table]:
    orders, repetitions = (5_000, 2) if quick else (200_000, 7)
    single = 4_000 if ground.name == "SQLite" else 500  # a round trip for each statement there
    batches = {1_000: 4, 1: 50} if quick else {1_000: 60, 1: single}
    with opened_sides(ground, orders, SYNCLINE, BY_HAND, WITHOUT_DIFFERENCE) as sides:
        tables = [_table(ground, orders, rows, race(sides, rows, batches[rows], repetitions)) for rows in batches]
    if "deltaflow" in ground.peers:
        from beside_deltaflow import deltaflow_rates

        peers, notes = deltaflow_rates(ground, quick=quick)
        bulk = tables[0]
        rows = [(peer.name, peer.changes_s, "", None, 1e9 / peer.changes_s, None) for peer in peers]
        own = float(bulk.rows[0][1] or 0)
        times = [f"Syncline: {own / peer.changes_s:.1f} times {peer.name}." for peer in peers]
        tables[0] = replace(bulk, rows=[*bulk.rows, *rows], notes=(*bulk.notes, *notes, *times))
    return tables


def _table(ground: Ground, orders: int, rows: int, paces: dict[Label, list[Pace]]) -> Table:
    rates = {name: [pace.changes_s for pace in found] for (name, _), found in paces.items()}
    processor = {name: [pace.processor_us * rows for pace in found] for (name, _), found in paces.items()}
    return Table(
        f"Maintaining the order view, {orders:,} orders, batches of {rows:,}",
        ("", "changes/s", "lowest to highest", "% of hand-written", "µs a batch", "processor µs a batch"),
        [
            (
                name,
                median(found),
                spread(found),
                share(found, rates[BY_HAND]),
                1e6 * rows / median(found),
                median(processor[name]),
            )
            for name, found in rates.items()
        ],
        ASKED[ground.name][rows],
        (
            f"Medians of {len(rates[BY_HAND])} repetitions, sides by turns.",
            ground.durability,
            "'no difference' writes every affected row of the view anew and keeps no change feed, which Syncline does.",
        ),
    )
