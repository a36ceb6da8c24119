"""What capture by WAL puts into a service's PostgreSQL database: a publication of the followed tables, and a replication slot.

The slot keeps the log for one read store until that has it on disk. The publication was made before the slot and carries a note:
whose it is, and how the tables stood when the read store read, under a random number that the positions read then carry as their
proof. A database that does not know the number of a position was put back, or its publication was made anew.
"""

import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from psycopg import errors, sql

from syncline.errors import SourceChanged, StoreError, Unavailable
from syncline.messages import Relation
from syncline.stores.postgres.connection import Connection, load, quoted
from syncline.stores.postgres.install import SQL as CAPTURE_SQL
from syncline.stores.postgres.install import cluster
from syncline.stores.postgres.source import Table

SQL = load("slot.sql")
LONGEST = 63
CREATE_WAIT_MS = 1_000
LOCK_WAIT_MS = 200
READER_WAIT_MS = 2_000
LAG_LIMIT = 4 << 30
"""How many bytes of the log a slot may keep before it is complained of."""
NOTED = 3
"""How many readings the note holds: a read store may be one behind, or not have got the newest on disk."""
COMPUTED_SINCE = 180_000
"""The version of the server that publishes stored generated columns."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a table stands: where its rows are, what decides the values of each column, whether all its changes are published."""

    rows: str
    columns: Mapping[str, str]
    is_published: bool = True

    def is_still(self, before: "Standing | None", relation: Relation) -> bool:
        """Whether what was read of the relation then is told on by the log alone. A column that was not read does not count."""
        if before is None or self.rows != before.rows:
            return False
        return all(before.columns.get(name, self.columns.get(name)) == self.columns.get(name) for name in relation.column_names)


@dataclass(frozen=True, slots=True)
class Reading:
    """How the tables stood when they were read, under the number that positions carry as their proof."""

    proof: int
    tables: Mapping[str, Standing]


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot with its publication: whose they are, from where on the log is kept, and the newest readings, the last one last."""

    name: str
    service: str
    consumer: str
    read_store: str
    start: int = 0
    readings: tuple[Reading, ...] = ()

    def reading(self, proof: int) -> Reading | None:
        return next((each for each in self.readings if each.proof == proof), None)


def slot_for(service: str, consumer: str, read_store: str) -> Slot:
    """What slot and publication of this read store are called."""
    return Slot(_name(service, consumer), service, consumer, read_store)


def prepare_slot(connection: Connection, slot: Slot, tables: Sequence[Table], is_new: Callable[[Relation], bool]) -> Slot:
    """Makes the slot and its publication where they are not, for exactly these tables.

    Raises StoreError with what to do where the server, the role or a table does not allow it, Unavailable where transactions that
    are open now must end first. `is_new` tells of what nothing is held.
    """
    refuse_server(connection)
    for table in tables:
        refuse_table(connection, table)
        for column in untold(connection, table):
            if column in table.relation.column_names:
                raise StoreError(
                    f"{table.relation.name}.{column} is computed (GENERATED), and the log does not hold it; leave it out of the "
                    'views, or use capture = "triggers"'
                )
    found = _found(connection, slot)
    if found is None:
        return remake_slot(connection, slot, tables)
    return _publish(connection, found, tables, is_new)


def remake_slot(connection: Connection, slot: Slot, tables: Sequence[Table]) -> Slot:
    """Makes both anew: all that the read store holds is to be compared."""
    end_reader(connection, slot.name)
    _drop(connection, slot.name)
    return _create(connection, slot, tables)


def note_reading(connection: Connection, slot: Slot, tables: Mapping[str, Standing]) -> Slot:
    """Notes how the tables stand, under a new number. What was noted last stays known."""
    readings = (*slot.readings, Reading(secrets.randbits(62) + 1, tables))[-NOTED:]
    noted = replace(slot, readings=readings)
    seen = [[each.proof, {name: [s.rows, dict(s.columns)] for name, s in each.tables.items()}] for each in readings]
    note = {"service": slot.service, "consumer": slot.consumer, "read_store": slot.read_store, "readings": seen}
    text = sql.Literal(json.dumps(note))
    connection.execute(sql.SQL("COMMENT ON PUBLICATION {} IS {}").format(sql.Identifier(slot.name), text))
    return noted


def standings(connection: Connection, slot: Slot, tables: Sequence[Table]) -> dict[str, Standing]:
    """How these tables stand now, by their names in the service; those that are gone are left out."""
    values = {"names": [table.name for table in tables], "publication": slot.name}
    found = {name: rest for name, *rest in connection.execute(SQL["select_standing"], values).fetchall()}
    stand: dict[str, Standing] = {}
    for table in tables:
        is_there, rows, columns, is_published = found[table.name]
        if is_there:
            known = json.loads(columns or "{}")
            kept = {name: known[name] for name in table.relation.column_names if name in known}
            stand[table.relation.table] = Standing(rows, kept, is_published)
    return stand


def remove_slots(connection: Connection, service: str, read_store: str | None) -> list[str]:
    """Removes slots and publications of one read store (its identity or its name), or of all. Returns what was removed."""
    removed = [each for name in _own(connection, service, read_store) for each in _drop(connection, name)]
    if not _own(connection) and connection.execute(SQL["select_renamed"]).fetchone() == (True,):
        connection.execute("DROP TABLE syncline.history")
        removed.append("table syncline.history")
        if connection.execute(CAPTURE_SQL["select_left"]).fetchone() == (False,):
            connection.execute("DROP SCHEMA syncline")
            removed.append("schema syncline")
    return removed


def has_slots(connection: Connection) -> bool:
    """Whether anything follows this database by a slot."""
    return bool(_own(connection))


def history(connection: Connection) -> str:
    """The name of the history that places of the log belong to: the cluster's, or its own since it was put back."""
    if connection.execute(SQL["select_renamed"]).fetchone() == (True,):
        for (name,) in connection.execute(SQL["select_history"]).fetchall():
            return str(name)
    return cluster(connection)


def rename_history(connection: Connection) -> str:
    """Gives the history another name, and makes everyone who follows by a slot compare all that is held."""
    with connection.transaction():
        connection.execute(SQL["lock_schema"])
        if connection.execute("SELECT to_regnamespace('syncline') IS NULL").fetchone() == (True,):
            connection.execute("CREATE SCHEMA syncline")
        connection.execute(SQL["create_history"])
        connection.execute(SQL["rename_history"])
        for name in _own(connection):
            # The same again: all that is published through it counts as put in place anew.
            connection.execute(f"ALTER PUBLICATION {quoted(name)} SET (publish_via_partition_root = true)")
    return history(connection)


def end_reader(connection: Connection, name: str) -> None:
    """Ends the connection that still reads the slot: whoever holds the read store's lease is the only one to read it."""
    found = connection.execute(SQL["select_slot"], {"slot": name}).fetchone()
    if found is None or found[1] is None:
        return
    try:
        connection.execute(SQL["terminate_reader"], {"pid": found[1], "wait_ms": READER_WAIT_MS})
    except errors.InsufficientPrivilege as error:
        raise _is_read(name, found[1]) from error


def lag(connection: Connection, name: str) -> str:
    """What to complain of where the slot makes the server keep much of its log. Raises SourceChanged where it keeps none."""
    found = connection.execute(SQL["select_lag"], {"slot": name}).fetchone()
    kept, status = found if found is not None else (0, "lost")
    if status == "lost":
        raise SourceChanged(f"slot '{name}' is gone, with the log that it kept; it is made anew, and all is compared")
    if status != "unreserved" and (kept or 0) <= LAG_LIMIT:
        return ""
    return (
        f"slot '{name}' makes the server keep {(kept or 0) / 2**30:.1f} GB of its log (wal_status {status}): see whether the "
        "relay keeps up, and whether a transaction has been open for long"
    )


def refuse_server(connection: Connection) -> None:
    """Raises StoreError where the server, or the role, cannot have a slot or a publication, with what to do."""
    ((level, is_standby, _, may_replicate, may_create),) = connection.execute(SQL["select_server"]).fetchall()
    role, instead = quoted(connection.info.user), 'or use capture = "triggers"'
    if is_standby:
        advice = 'name the primary\'s address, or use capture = "polling", which only reads'
        raise StoreError(f"it is a standby, where no publication can be made; {advice}")
    if level != "logical":
        raise StoreError(
            f"the server has wal_level = {level}, and capture 'wal' needs 'logical': ALTER SYSTEM SET wal_level = 'logical', "
            f"then restart it; {instead}"
        )
    if not may_replicate:
        raise StoreError(f"the role may not use replication slots: ALTER ROLE {role} REPLICATION, {instead}")
    if not may_create:
        database = quoted(connection.info.dbname)
        raise StoreError(f"the role may not make a publication: GRANT CREATE ON DATABASE {database} TO {role}, {instead}")


def refuse_table(connection: Connection, table: Table) -> None:
    """Raises StoreError for a table of which the log does not tell all that is followed, with what to do."""
    full = table.relation.name
    found = connection.execute(SQL["select_identities"], {"oid": table.oid, "key": sorted(table.relation.key)}).fetchone()
    if found is not None:
        schema, name, identity, persistence = found
        if persistence == "f":
            raise StoreError(
                f"{full}: its partition {schema}.{name} is a foreign table, of which the log does not tell; detach it"
            )
        if persistence != "p":
            raise StoreError(f"{full} is UNLOGGED, so the log does not tell of it: ALTER TABLE {quoted(schema, name)} SET LOGGED")
        what = {"n": "NOTHING", "i": "another index"}.get(identity, "a primary key that it does not have, or that is DEFERRABLE")
        raise StoreError(
            f"{full}: the replica identity of {schema}.{name} is {what}, so that changes would not tell the key "
            f"({', '.join(table.relation.key)}): ALTER TABLE {quoted(schema, name)} REPLICA IDENTITY FULL"
        )


def untold(connection: Connection, table: Table) -> list[str]:
    """Columns of a table that the log does not hold: computed ones."""
    ((_, _, version, _, _),) = connection.execute(SQL["select_server"]).fetchall()
    found = connection.execute(SQL["select_computed"], {"oid": table.oid}).fetchall()
    return [column for column, kind in found if kind == "v" or version < COMPUTED_SINCE]


def _found(connection: Connection, slot: Slot) -> Slot | None:
    """The slot, if it is whole: its log is kept, and its publication is the one that it was made with."""
    found = connection.execute(SQL["select_slot"], {"slot": slot.name}).fetchone()
    publication = connection.execute(SQL["select_publication"], {"publication": slot.name}).fetchone()
    if found is None or publication is None or not publication[1]:
        return None
    if found[0] == "lost" or found[2] is None or found[3] != "pgoutput":
        return None
    readings = _readings(_noted(publication[0]))
    return replace(slot, start=found[2], readings=readings) if readings else None


def _create(connection: Connection, slot: Slot, tables: Sequence[Table]) -> Slot:
    names = ", ".join(table.name for table in tables)
    ((_, _, version, _, _),) = connection.execute(SQL["select_server"]).fetchall()
    options = "publish_via_partition_root = true" + (", publish_generated_columns = stored" if version >= COMPUTED_SINCE else "")
    connection.execute(f"SET lock_timeout = {CREATE_WAIT_MS}")
    try:
        with _may_publish(connection):
            which = f"FOR TABLE {names} " if names else ""
            connection.execute(f"CREATE PUBLICATION {quoted(slot.name)} {which}WITH ({options})")
        noted = note_reading(connection, replace(slot, readings=()), standings(connection, slot, tables))
        try:
            ((start,),) = connection.execute(SQL["create_slot"], {"slot": slot.name}).fetchall()
        except errors.LockNotAvailable as error:
            raise Unavailable(
                f"slot '{slot.name}' can be made only when the transactions that are open now have ended; it is tried again"
            ) from error
        except errors.ConfigurationLimitExceeded as error:
            raise StoreError(
                f"the server has no free replication slot ({error.diag.message_primary}): raise max_replication_slots and "
                "restart it, or drop one that nobody uses: SELECT slot_name FROM pg_replication_slots WHERE NOT active"
            ) from error
    except BaseException:
        if not connection.closed:
            _drop(connection, slot.name)
        raise
    finally:
        if not connection.closed:
            connection.execute("SET lock_timeout = 0")
    return replace(noted, start=start)


def _publish(connection: Connection, slot: Slot, tables: Sequence[Table], is_new: Callable[[Relation], bool]) -> Slot:
    """Publishes these tables, and no others. One that was followed and was not published meanwhile is to be compared."""
    ((_, _, text),) = connection.execute(SQL["select_publication"], {"publication": slot.name}).fetchall()
    published = {(schema, name) for schema, name in json.loads(text)}
    added = [table for table in tables if (table.schema, table.relation.table) not in published]
    if not added and len(published) == len(tables):
        return slot
    names = ", ".join(table.name for table in tables)
    with _may_publish(connection), connection.transaction():
        connection.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}")
        if added:
            # What a transaction wrote before the table was published is not told when it commits: it must have ended.
            connection.execute(f"LOCK TABLE {', '.join(table.name for table in added)} IN SHARE ROW EXCLUSIVE MODE")
        if names:
            connection.execute(f"ALTER PUBLICATION {quoted(slot.name)} SET TABLE {names}")
        else:
            for schema, name in published:
                connection.execute(f"ALTER PUBLICATION {quoted(slot.name)} DROP TABLE {quoted(schema, name)}")
    unseen = {table.relation.table for table in added if not is_new(table.relation)}
    readings = tuple(
        replace(each, tables={name: now for name, now in each.tables.items() if name not in unseen}) for each in slot.readings
    )
    return replace(slot, readings=readings)


class _may_publish:
    """Raises StoreError with what to do where the role may not publish, Unavailable where a table is being written for long."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, errors.InsufficientPrivilege):
            role = quoted(self._connection.info.user)
            raise StoreError(
                f"the role may not publish the tables ({error.diag.message_primary}): only their owner may; GRANT the "
                f'owner\'s role TO {role}, or use capture = "triggers"'
            ) from error
        if isinstance(error, errors.LockNotAvailable):
            raise Unavailable(
                "a table can be published only when the transactions that write it have ended; it is tried again"
            ) from error


def _own(connection: Connection, service: str | None = None, read_store: str | None = None) -> list[str]:
    """The names of what was made here, for a service or all, for one read store or all."""
    notes: dict[str, str | None] = {}
    for name, text in connection.execute(SQL["select_own"]).fetchall():
        notes[name] = text or notes.get(name)
    mine: list[str] = []
    for name, text in sorted(notes.items()):
        note, consumer = _noted(text), name.rpartition("_")[2]
        is_its = service is None or (note["service"] == service if "service" in note else name == _name(service, consumer))
        if is_its and read_store in (None, consumer, note.get("consumer"), note.get("read_store")):
            mine.append(name)
    return mine


def _drop(connection: Connection, name: str) -> list[str]:
    removed: list[str] = []
    found = connection.execute(SQL["select_slot"], {"slot": name}).fetchone()
    if found is not None:
        if found[1] is not None:
            raise _is_read(name, found[1])
        connection.execute(SQL["drop_slot"], {"slot": name})
        removed.append(f"slot {name}")
    if connection.execute(SQL["select_publication"], {"publication": name}).fetchone() is not None:
        connection.execute(f"DROP PUBLICATION {quoted(name)}")
        removed.append(f"publication {name}")
    return removed


def _is_read(name: str, pid: int) -> Unavailable:
    return Unavailable(f"slot '{name}' is being read by the server's process {pid}; stop the relay that reads it")


def _name(service: str, consumer: str) -> str:
    readable = re.sub("[^a-z0-9_]", "_", service.lower())[: LONGEST - len(f"syncline__{consumer}")]
    return f"syncline_{readable}_{consumer}"


def _noted(text: str | None) -> dict[str, object]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _readings(note: Mapping[str, object]) -> tuple[Reading, ...]:
    found = note.get("readings")
    if not isinstance(found, list):
        return ()
    return tuple(Reading(proof, {name: Standing(rows, columns) for name, (rows, columns) in t.items()}) for proof, t in found)
