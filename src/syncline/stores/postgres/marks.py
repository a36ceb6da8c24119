"""The marks of dirty keys as SQL: what a trigger writes, and what is read of them. Pure.

A statement leaves one mark, however many rows it wrote: the transaction and, for each column of the key, an array of values. A
statement that wrote very many leaves several, since no value of PostgreSQL may be larger than a gigabyte.
"""

from collections.abc import Iterator, Mapping, Sequence

from syncline.messages import Position
from syncline.stores.postgres.connection import quoted
from syncline.stores.postgres.source import Table, columns_of, printed
from syncline.stores.postgres.values import escaped

EVENTS = ("insert", "update", "delete", "truncate")
KEYS_A_MARK = 10_000
UNSEEN = "(tx > %(n)s::xid8 OR tx = ANY (%(open)s::xid8[]))"
"""The condition that a position does not contain a mark, with the parameters of `unseen`."""


def mark_table(number: int) -> str:
    return f"syncline.mark_{number}"


def trigger(number: int, event: str) -> str:
    return f"syncline_{number}_{event}"


def function(number: int, event: str) -> str:
    return f"syncline.mark_{number}_{event}"


def key_types(table: Table) -> str:
    """What the marks of a table hold, as text: another key needs another table of marks."""
    pairs = zip(table.relation.key, _travelling(table), table.key_types, strict=True)
    return ", ".join(f"{name} {travelling} {declared}" for name, travelling, declared in pairs)


def create_marks(table: Table, number: int) -> Iterator[str]:
    """Statements that make the table of marks. A column has the key's collation, so that both compare."""
    marks = mark_table(number)
    keys = ", ".join(f"array_agg({key}) AS {name}" for key, name in zip(_keys(table), key_names(table), strict=True))
    yield f"CREATE TABLE {marks} AS SELECT '0'::xid8 AS tx, {keys} FROM {table.name} WITH NO DATA"
    yield f"ALTER TABLE {marks} ALTER COLUMN tx SET DEFAULT pg_current_xact_id()"
    for name in key_names(table):
        yield f"ALTER TABLE {marks} ALTER COLUMN {name} SET STORAGE EXTERNAL"
    yield (
        f"ALTER TABLE {marks} SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, "
        "autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_threshold = 2000000000)"
    )
    yield f"CREATE INDEX ON {marks} (tx)"


def create_function(table: Table, number: int, event: str) -> str:
    """The function that a trigger runs, with the rights of who makes it, whatever names the writer's session knows."""
    return (
        f"CREATE OR REPLACE FUNCTION {function(number, event)}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
        f"SET search_path = pg_catalog, pg_temp AS $syncline$ BEGIN {_body(table, number, event)} RETURN NULL; END $syncline$"
    )


def create_trigger(target: str, number: int, event: str) -> str:
    referencing = {
        "insert": "REFERENCING NEW TABLE AS syncline_new ",
        "update": "REFERENCING OLD TABLE AS syncline_old NEW TABLE AS syncline_new ",
        "delete": "REFERENCING OLD TABLE AS syncline_old ",
        "truncate": "",
    }
    return (
        f"CREATE OR REPLACE TRIGGER {trigger(number, event)} AFTER {event.upper()} ON {target} "
        f"{referencing[event]}FOR EACH STATEMENT EXECUTE FUNCTION {function(number, event)}()"
    )


def insert_marks(table: Table, number: int, count: int) -> str:
    """A mark of so many keys, whose values are parameters: all of the first column, then all of the second, …"""
    arrays = (f"ARRAY[{', '.join(['%s'] * count)}]::{escaped(travelling)}[]" for travelling in _travelling(table))
    return f"INSERT INTO {mark_table(number)} ({', '.join(key_names(table))}) VALUES ({', '.join(arrays)})"


def select_marked(table: Table, number: int) -> str:
    """Current rows of the keys marked since a position: whether the row is there, its key as it was marked, then its columns."""
    names, key = key_names(table), table.relation.key
    enums = {name: enum for name, enum in zip(names, table.key_enums, strict=True) if enum}
    same = " AND ".join(
        f"t.{quoted(column)} = {'e' if name in enums else 'm'}.{name}" for column, name in zip(key, names, strict=True)
    )
    return (
        f"SELECT t.{escaped(quoted(key[0]))} IS NOT NULL, {_listed('m.', names)}, {escaped(columns_of(table, 't.'))} "
        f"FROM ({select_dirty(table, number)}) AS m {escaped(_read_as_enums(enums))}"
        f"LEFT JOIN {escaped(table.name)} AS t ON {escaped(same)}"
    )


def select_dirty(table: Table, number: int) -> str:
    """The keys that were marked since a position."""
    names = key_names(table)
    marked = f"{mark_table(number)}, unnest({_listed('', names)}) AS k ({_listed('', names)})"
    return f"SELECT DISTINCT {_listed('k.', names)} FROM {marked} WHERE {UNSEEN}"


def select_work(numbers: Sequence[int]) -> str:
    """For each captured table its number, how many keys were marked since a position, and whether the table was truncated."""
    parts = (
        f"SELECT {number}, (SELECT coalesce(sum(cardinality(k1)), 0)::bigint FROM {mark_table(number)} WHERE {UNSEEN}), "
        f"EXISTS (SELECT FROM syncline.truncation WHERE tbl = {number} AND {UNSEEN})"
        for number in numbers
    )
    return " UNION ALL ".join(parts)


def select_is_marked(numbers: Sequence[int]) -> str:
    """Whether anything was marked since a position, or marks were given up, with the snapshot in which that was so."""
    exists = (f"EXISTS (SELECT FROM {each} WHERE {UNSEEN})" for each in (*map(mark_table, numbers), "syncline.truncation"))
    is_kept = "EXISTS (SELECT FROM syncline.consumer WHERE consumer = %(consumer)s AND NOT expired)"
    return (
        f"SELECT {' OR '.join(exists)} OR NOT {is_kept}, pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1, "
        "ARRAY(SELECT pg_snapshot_xip(pg_current_snapshot())::text::bigint)"
    )


def delete_marks(number: int) -> str:
    """Forgets the marks that every read store of the table has applied: those that each has seen, whatever their numbers."""
    follows = f"syncline.follow AS f JOIN syncline.consumer AS c ON c.consumer = f.consumer WHERE f.tbl = {number}"
    needed = f"SELECT FROM {follows} AND NOT c.expired AND NOT pg_visible_in_snapshot(m.tx, c.acknowledged)"
    return f"DELETE FROM {mark_table(number)} AS m WHERE NOT EXISTS ({needed})"


def unseen(position: Position) -> dict[str, str]:
    """The parameters of UNSEEN."""
    return {"n": str(position.n), "open": "{" + ",".join(map(str, position.open)) + "}"}


def as_snapshot(position: Position) -> str:
    """A position as PostgreSQL writes a snapshot."""
    least = min(position.open, default=position.n + 1)
    return f"{least}:{position.n + 1}:{','.join(map(str, sorted(position.open)))}"


def key_names(table: Table) -> list[str]:
    return [f"k{place}" for place in range(1, len(table.relation.key) + 1)]


def _body(table: Table, number: int, event: str) -> str:
    if event == "truncate":
        return f"INSERT INTO syncline.truncation (tbl) VALUES ({number});"
    names = key_names(table)
    keys = ", ".join(f"{key} AS {name}" for key, name in zip(_keys(table), names, strict=True))
    written = {
        "insert": f"SELECT {keys} FROM syncline_new",
        "update": f"SELECT {keys} FROM syncline_new UNION ALL SELECT {keys} FROM syncline_old",
        "delete": f"SELECT {keys} FROM syncline_old",
    }[event]
    arrays = ", ".join(f"array_agg({name})" for name in names)
    into = f"INSERT INTO {mark_table(number)} ({', '.join(names)}) SELECT {arrays} FROM"
    table_written = "syncline_old" if event == "delete" else "syncline_new"
    return (
        f"IF EXISTS (SELECT FROM {table_written} OFFSET {KEYS_A_MARK}) THEN "
        f"{into} (SELECT *, (row_number() OVER () - 1) / {KEYS_A_MARK} AS part FROM ({written}) AS w) AS w GROUP BY part; "
        f"ELSE {into} ({written}) AS w HAVING count(*) > 0; END IF;"
    )


def _keys(table: Table) -> list[str]:
    """The key's columns as they travel."""
    types = zip(table.relation.key, _travelling(table), table.key_types, strict=True)
    return [_travelled(quoted(name), travelling, declared) for name, travelling, declared in types]


def _read_as_enums(enums: Mapping[str, str]) -> str:
    """The marked texts of enums as these: read, not cast, as they were printed."""
    if not enums:
        return ""
    texts = ", ".join(f"'{name}', m.{name}" for name in enums)
    columns = ", ".join(f"{name} {enum}" for name, enum in enums.items())
    return f"CROSS JOIN LATERAL json_to_record(json_build_object({texts})) AS e ({columns}) "


def _travelled(column: str, travelling: str, declared: str) -> str:
    """A type that is not PostgreSQL's own is printed, not cast: a cast may be a function of the type's owner, which would run
    with the rights of whoever made the triggers."""
    if travelling == declared:
        return column
    return printed(column) if travelling == "text" else f"{column}::{travelling}"


def _travelling(table: Table) -> list[str]:
    return [table.types[name] for name in table.relation.key]


def _listed(prefix: str, names: Sequence[str]) -> str:
    return ", ".join(prefix + name for name in names)
