"""The SQL views that plain readers read: over the rows of the build that is live in the reader's own snapshot.

Which build is live is one row of `syncline.view`, so a switch is an UPDATE of it: whoever took a snapshot before sees the old
rows, whoever did after the new ones, and where a view no longer knows the rows that a snapshot is to see, it raises and says so.
A view is defined anew only while nobody holds it for longer than some milliseconds.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from psycopg import errors

from syncline.stores.own_tables import Run
from syncline.stores.postgres.connection import Connection, quoted
from syncline.stores.postgres.layout import Layout
from syncline.stores.postgres.program import listed
from syncline.stores.read_definitions import generation_table

READERS_ARE_ASKED_MS = 50
"""How long a definition waits for readers at most, and so readers for it."""


class Serving:
    """The SQL views of one read store; changes must be in a transaction."""

    def __init__(self, connection: Connection, layout: Layout, run: Run) -> None:
        self._connection, self._layout, self._run = connection, layout, run

    def columns(self, name: str) -> dict[str, str]:
        """The columns of an SQL view or table in order, with their types; none where there is no such."""
        rows = self._connection.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            (self._layout.of_views(name),),
        )
        return dict(rows.fetchall())

    def are_columns(self, name: str, table: str, names: Sequence[str]) -> bool:
        """Whether the columns of a view, in order, are those of a table that are named."""
        found = self.columns(table)
        return list(self.columns(name).items()) == [(column, found[column]) for column in names]

    def shows_both(self, name: str, columns: Sequence[str], old: int, new: int) -> bool:
        """Lets the view show either build's rows; false where a reader holds it now, or its columns are others."""
        if not self.are_columns(name, generation_table(name, new), columns):
            return True  # it is made anew when it is switched
        with self.unless_held() as done:
            self._define(name, columns, (old, new), (new, old))
        return done[0]

    def switch(self, name: str, columns: Sequence[str], new: int) -> None:
        """Makes the view show a build from now on; it is made anew, with the grants on it, where its columns change."""
        if not self.columns(name):
            self._define(name, columns, (new, None))
        elif not self.are_columns(name, generation_table(name, new), columns):
            self._connection.execute(f"SET LOCAL lock_timeout = {READERS_ARE_ASKED_MS}")
            grants = self._grants(name)
            self._connection.execute(f"DROP VIEW {self._layout.of_views(name)}")
            self._define(name, columns, (new, None))
            for grant in grants:
                self._connection.execute(grant)

    def shows_one(self, name: str, columns: Sequence[str], live: int) -> bool:
        """Lets the view forget all builds but the live one; false where a reader holds it now."""
        with self.unless_held() as done:
            self._define(name, columns, (live, None))
        return done[0]

    @contextmanager
    def unless_held(self) -> Iterator[list[bool]]:
        """Does what is inside, or undoes it where a reader, or a definition of somebody else, stands in the way."""
        done = [False]
        self._connection.execute("SAVEPOINT syncline_serving")
        try:
            self._connection.execute(f"SET LOCAL lock_timeout = {READERS_ARE_ASKED_MS}")
            yield done
            self._connection.execute("SET LOCAL lock_timeout = 0")
            done[0] = True
        except (errors.LockNotAvailable, errors.DeadlockDetected, errors.DependentObjectsStillExist):
            self._connection.execute("ROLLBACK TO SAVEPOINT syncline_serving")
        self._connection.execute("RELEASE SAVEPOINT syncline_serving")

    def drop(self, name: str, kind: str) -> bool:
        """Drops a table, or an SQL view, that was made here; false where it cannot be now."""
        with self.unless_held() as done:
            self._connection.execute(f"DROP {kind.upper()} IF EXISTS {self._layout.of_views(name)}")
            self._run("delete_made", name=name)
        return done[0]

    def _define(self, name: str, columns: Sequence[str], *builds: tuple[int, int | None]) -> None:
        """Defines the view over these builds: each with the other one that its rows may give way to."""
        live = f"(SELECT live_generation FROM {quoted(self._layout.own)}.view WHERE name = {_literal(name)})"
        function = f"{quoted(self._layout.own)}.generation_is"
        each = (
            f"SELECT {listed(columns)} FROM {self._layout.of_views(generation_table(name, this))} "
            f"WHERE {function}({live}, {this}, {'NULL' if other is None else other}, {_literal(name)})"
            for this, other in builds
        )
        self._connection.execute(f"CREATE OR REPLACE VIEW {self._layout.of_views(name)} AS {' UNION ALL '.join(each)}")
        self._run("insert_made", name=name, kind="view")

    def _grants(self, name: str) -> list[str]:
        view = self._layout.of_views(name)
        rows = self._connection.execute(
            "SELECT privilege_type, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END, "
            "is_grantable FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = to_regclass(%s) AND grantee <> relowner",
            (view,),
        )
        return [
            f"GRANT {privilege} ON {view} TO {grantee}{' WITH GRANT OPTION' if may_grant else ''}"
            for privilege, grantee, may_grant in rows
        ]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
