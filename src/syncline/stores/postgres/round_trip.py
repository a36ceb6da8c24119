"""Statements of one transaction in one message.

The driver's own pipeline sends each statement as it comes, and BEGIN and COMMIT besides. Here the statements, prepared once,
leave together, and the server makes a transaction of the message: it commits at its end, or undoes all of it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

import psycopg
from psycopg.abc import PQGen
from psycopg.errors import error_from_result
from psycopg.generators import fetch, send
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from syncline.stores.postgres.connection import Connection

_PLACEHOLDER: Final = re.compile(r"%\((\w+)\)s")


class RoundTrip:
    """Statements that are always run one after the other, in a transaction of their own. Each gives rows."""

    def __init__(self, connection: Connection, **statements: str) -> None:
        """Prepares the statements under their names."""
        self._connection, self._pg = connection, connection.pgconn
        self._parameters: dict[bytes, Sequence[str]] = {}
        for name, statement in statements.items():
            numbered, parameters = _numbered(statement)
            connection.execute(f"PREPARE {name} AS {numbered}".encode())
            self._parameters[name.encode()] = parameters

    def run(self, values: Mapping[str, str | int]) -> PGresult:
        """Runs the statements, each with those of the values that it names, and returns the result of the last: it is committed.

        Raises the driver's error; then nothing was stored, or, where the connection was lost, it cannot be told.
        """
        pg = self._pg
        pg.enter_pipeline_mode()
        for name, parameters in self._parameters.items():
            pg.send_query_prepared(name, [str(values[each]).encode() for each in parameters])
        pg.pipeline_sync()
        results = self._connection.wait(_results(pg))
        pg.exit_pipeline_mode()
        for result in results:
            if result.status != ExecStatus.TUPLES_OK:
                raise error_from_result(result)
        return results[-1]


def _results(pg: PGconn) -> PQGen[list[PGresult]]:
    """What was answered to each message before the end of the pipeline."""
    yield from send(pg)
    found: list[PGresult] = []
    while True:
        result = yield from fetch(pg)
        if result is None and pg.status == ConnStatus.BAD:
            raise psycopg.OperationalError(pg.get_error_message())
        if result is not None and result.status == ExecStatus.PIPELINE_SYNC:
            return found
        if result is not None:
            found.append(result)


def _numbered(statement: str) -> tuple[str, Sequence[str]]:
    """A statement as the server reads it, with `$1` for its first parameter, and the parameters' names in that order."""
    names = list(dict.fromkeys(_PLACEHOLDER.findall(statement)))
    numbered = _PLACEHOLDER.sub(lambda found: f"${names.index(found[1]) + 1}", statement)
    return numbered.replace("%%", "%"), names
