"""Which statements of a node would read a whole mirror or view: a plan that scans is exact, but its cost grows with the table.

Asks SQLite for its query plans, so the tables, temporary ones too, must be there. Reads nothing else and changes nothing.
"""

import re
import sqlite3
from collections.abc import Collection

from syncline.stores.machine import Node, ViewNode
from syncline.stores.sqlite.machine import SQLiteMachine

_TABLE = re.compile(r'(?:FROM|JOIN)\s+(?:temp\.)?"([^"]+)"(?:\s+AS\s+"?(\w+)"?)?', re.IGNORECASE)
_PASSING = ("syncline_keys_", "syncline_delta_")


def scans(connection: sqlite3.Connection, machine: SQLiteMachine, node: Node, views: Collection[str] | None = None) -> list[str]:
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
        for statement in (program.recompute, program.find_gone, program.drop_equal):
            for table in _scanned(connection, statement):
                found[f"{table} is read whole to compute changed rows of {node.table}"] = None
    return list(found)


def _scanned(connection: sqlite3.Connection, statement: str) -> list[str]:
    tables: dict[str, set[str]] = {}
    for table, alias in _TABLE.findall(statement):
        tables.setdefault((alias or table).lower(), set()).add(table)
    scanned: set[str] = set()
    # A prepared EXPLAIN is not renewed when the schema changes, and the driver keeps prepared statements by their text.
    version = connection.execute("PRAGMA schema_version").fetchone()[0]
    for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {statement} -- at {version}"):
        words = detail.split()
        if words[0] == "SCAN" or "AUTOMATIC" in words:
            scanned |= {table for table in tables.get(words[1].lower(), ()) if not table.startswith(_PASSING)}
    return sorted(scanned)
