"""Runs a named query on a read store: within the reader's snapshot, which cannot write, for so long and no longer.

Which tables and functions it may use was decided when it was loaded (`read/maintain/asked.py`).
"""

from collections.abc import Mapping

import psycopg
from psycopg import errors

from syncline.errors import InvalidQueryValues, TookTooLong
from syncline.read.maintain.asked import Asked
from syncline.read.named_query import bound
from syncline.stores.postgres.connection import Connection, translated
from syncline.stores.postgres.values import as_parameter, escaped
from syncline.stores.protocols import QueryResult

_TYPES = {
    "integer": "bigint", "number": "numeric", "text": "text", "boolean": "boolean", "date": "date",
    "timestamp": "timestamp with time zone", "uuid": "uuid",
}  # fmt: skip


def run_query(
    connection: Connection, database: str, asked: Asked, sql: str, values: Mapping[str, object], limit: int, timeout_s: float
) -> QueryResult:
    """At most `limit` rows of `sql`, whose parameters are written `:name`. Raises TookTooLong, InvalidQueryValues, StoreError."""
    name, types = asked.query.name, {each.name: _TYPES[each.type] for each in asked.query.parameters}

    def spelled(parameter: str) -> str:
        """A claim takes the type of what it is compared with."""
        of_type = f"::{types[parameter]}" if parameter in types else ""
        return f"%({parameter})s{of_type}"

    wanted = {each: as_parameter(value) for each, value in values.items()}
    with translated(database):
        connection.execute("SELECT set_config('statement_timeout', %s, true)", (f"{max(1, round(timeout_s * 1000))}ms",))
        try:
            with connection.cursor(name="query") as cursor:  # on the server: no more rows are computed than are wanted
                cursor.execute(bound(escaped(sql), spelled), wanted)
                found = cursor.fetchmany(limit + 1)
                columns = tuple((each.name, each.type_display) for each in cursor.description or ())
        except errors.QueryCanceled as error:
            raise TookTooLong(f"query '{name}'", timeout_s) from error
        except psycopg.DataError as error:
            raise InvalidQueryValues(name, [("", f"with these values it fails: {error.diag.message_primary}")]) from error
        finally:
            _without_limit(connection)
    return QueryResult(columns, found[:limit], is_cut_short=len(found) > limit)


def _without_limit(connection: Connection) -> None:
    """What is read after it in the same snapshot has no limit; after an error the whole transaction is over, settings and all."""
    if connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS:
        connection.execute("SELECT set_config('statement_timeout', '0', true)")
