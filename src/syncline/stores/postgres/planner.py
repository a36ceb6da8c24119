"""How the planner of the connection that writes to a read store is set.

What a batch affects is small against the tables, whatever their statistics say of them and of temporary tables, which have none:
by the first settings, statements are planned once, by indexes, in the order in which their joins are written. A statement that
computes all rows of a table is better off with the second.
"""

from collections.abc import Mapping

from syncline.stores.postgres.connection import Connection

BY_INDEXES = {
    "plan_cache_mode": "force_generic_plan",
    "join_collapse_limit": "1",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}
_WHOLE = {
    "join_collapse_limit": "8",
    "enable_hashjoin": "on",
    "enable_mergejoin": "on",
    "enable_seqscan": "on",
    "work_mem": "64MB",
}


def plan_for_all_rows(connection: Connection) -> None:
    """Until `plan_by_indexes`, or the end of the transaction."""
    _set(connection, _WHOLE)


def plan_by_indexes(connection: Connection) -> None:
    _set(connection, {name: value for name, value in BY_INDEXES.items() if name in _WHOLE})


def _set(connection: Connection, settings: Mapping[str, str]) -> None:
    connection.execute("; ".join(f"SET LOCAL {name} = '{value}'" for name, value in settings.items()))
