"""Which statements of a node would read a whole mirror or view: a plan that scans is exact, but its cost grows with the table.

Asks PostgreSQL for its query plans, so the tables, temporary ones too, must be there. Reads nothing else and changes nothing.
"""

import json
from collections.abc import Collection, Iterator
from typing import Any

from syncline.stores.machine import Node, ViewNode
from syncline.stores.postgres.connection import Connection
from syncline.stores.postgres.machine import PostgresMachine


def scans(connection: Connection, machine: PostgresMachine, node: Node, views: Collection[str] | None = None) -> list[str]:
    """One line for each table that would be read from end to end: when `node` changes, or when it is recomputed.

    `views` are the stored tables of the views that this is asked for; by default all are.
    A view that is recomputed whole on purpose is not reported for that.
    """
    found: dict[str, None] = {}
    for walk in (walk for walk in node.walks if views is None or walk.view in views):
        for statement in (walk.before, walk.after):
            for table in _scanned(connection, statement) if statement is not None else ():
                found[f"{table} is read whole to find the rows of {walk.view} that a change of {node.table} affects"] = None
    is_asked_for = views is None or node.table in views
    if isinstance(node, ViewNode) and is_asked_for and node.plan.cost_class == "keys":
        program = machine.view_program(node)
        for statement in (program.compute, program.write):
            for table in _scanned(connection, statement):
                found[f"{table} is read whole to compute changed rows of {node.table}"] = None
    return list(found)


def _scanned(connection: Connection, statement: str) -> list[str]:
    (plan,) = connection.execute(f"EXPLAIN (VERBOSE, FORMAT JSON) {statement}").fetchone() or ("[]",)
    tree = json.loads(plan)[0]["Plan"]
    return sorted({f"{node['Schema']}.{node['Relation Name']}" for node in _nodes(tree) if _reads_all(node)})


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _reads_all(node: dict[str, Any]) -> bool:
    """A scan of a table, or of an index without a condition on it, which the planner prefers where scans are discouraged."""
    kind = node["Node Type"]
    is_scan = kind == "Seq Scan" or (kind in ("Index Scan", "Index Only Scan") and "Index Cond" not in node)
    return is_scan and not node.get("Schema", "").startswith("pg_temp")
