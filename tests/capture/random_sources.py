"""Random tables of other programs, and random SQL that those programs run on them."""

import random
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

KEYS = {
    "row number": ("id INTEGER PRIMARY KEY", ("id",)),
    "descending": ("id INTEGER PRIMARY KEY DESC", ("id",)),
    "text": ("id TEXT PRIMARY KEY", ("id",)),
    "whole text": ("id TEXT NOT NULL PRIMARY KEY", ("id",)),
    "nocase": ("id TEXT COLLATE NOCASE PRIMARY KEY", ("id",)),
    "rtrim": ("id TEXT COLLATE RTRIM PRIMARY KEY", ("id",)),
    "blank": ("id PRIMARY KEY", ("id",)),
    "real": ("id REAL PRIMARY KEY", ("id",)),
    "composite": ("id TEXT, part INTEGER", ("id", "part")),
    "composite nocase": ("id TEXT COLLATE NOCASE, part", ("part", "id")),
}
STRICT_KEYS = {
    "row number": KEYS["row number"],
    "text": KEYS["text"],
    "any": ("id ANY PRIMARY KEY", ("id",)),
    "composite": KEYS["composite"],
}
UNIQUE = {
    "none": ("u {text}", ""),
    "plain": ("u {text} UNIQUE", ""),
    "default": ("u {text} NOT NULL DEFAULT 'a' UNIQUE", ""),
    "nocase": ("u {text} COLLATE NOCASE UNIQUE", ""),
    "other order": ("u {text}", "CREATE UNIQUE INDEX t_u ON t (u COLLATE NOCASE)"),
    "partial": ("u {text}", "CREATE UNIQUE INDEX t_u ON t /* ( */ (u) WHERE v > 1 -- WHERE v > 2"),
    "partial one": ("u {text}", 'CREATE UNIQUE INDEX "t WHERE (" ON t(u)where(v IS NOT NULL)'),
    "pair": ("u {text}", "CREATE UNIQUE INDEX t_u ON t (u, v)"),
    "generated": ("u {text}, g {text} AS (lower(u)) UNIQUE", ""),
    "stored": ("u {text}, g {text} AS (lower(u)) STORED UNIQUE", ""),
}
TEXTS = ["a", "A", "b", "B "]
VALUES = [None, *TEXTS, *TEXTS, 0, 1, 2, 3, 1.0, 2.5, b"a", 2**53 + 1, ""]
KEY_VALUES = [1, 2, 3, "a", "A", "b", "a ", 1.0, 2.5]
PARTS = [1, 2, "a"]


@dataclass(frozen=True)
class Source:
    """Statements that make a database, and the columns of its table t that may be written."""

    script: tuple[str, ...]
    columns: tuple[str, ...]
    key: tuple[str, ...]
    has_rowid: bool


def random_source(rng: random.Random) -> Source:
    """A table t with a key, a unique column, generated ones, and a table c whose rows follow from t's."""
    is_strict = rng.random() < 0.25
    keys = STRICT_KEYS if is_strict else KEYS
    key_sql, key = keys[rng.choice(sorted(keys))]
    is_without_rowid = rng.random() < 0.35
    unique_sql, index = UNIQUE[rng.choice(sorted(UNIQUE))]
    texts = "TEXT" if is_strict else rng.choice(["TEXT", "", "VARCHAR(9)"])
    v = "v ANY" if is_strict else rng.choice(["v", "v INTEGER", "v NUMERIC", "v REAL"])
    w_text = "w TEXT" if is_strict else "w"
    extra = rng.choice(["", f"{w_text} COLLATE NOCASE DEFAULT 'dflt'", "w TEXT AS (u || '!')"])
    if len(key) > 1:
        extra += f"{', ' if extra else ''}PRIMARY KEY ({', '.join(key)})"
    if is_strict:
        key_sql = key_sql.replace("part INTEGER", "part INT")
    parts = [key_sql, unique_sql.format(text=texts), v, extra]
    options = ", ".join([*(["STRICT"] if is_strict else []), *(["WITHOUT ROWID"] if is_without_rowid else [])])
    script = [f"CREATE TABLE t ({', '.join(filter(None, parts))}) {options}"]
    if index:
        script.append(index)
    if len(key) == 1:
        action = rng.choice(["CASCADE", "SET NULL", "SET DEFAULT"])
        script.append(f"CREATE TABLE c (n INTEGER PRIMARY KEY, t_id REFERENCES t (id) ON DELETE {action} ON UPDATE CASCADE)")
    written = ("id", *(("part",) if len(key) > 1 else ()), "u", "v", *(("w",) if "DEFAULT" in extra else ()))
    return Source(tuple(script), written, key, not is_without_rowid)


Step = tuple[Any, ...]
_WEIGHTS = {
    "insert": 10,
    "insert few": 4,
    "insert rowid": 4,
    "insert null key": 1,
    "update": 8,
    "update all": 1,
    "update rowid": 2,
    "rekey": 4,
    "upsert": 3,
    "delete": 2,
    "delete all": 0.2,
    "child": 4,
    "savepoint": 1,
}


def random_transaction(rng: random.Random, source: Source) -> tuple[bool, list[Step]]:
    """Mostly one statement, so that nothing else marks the row that it touches; sometimes many, sometimes rolled back."""
    length = rng.choice([1, 1, 1, 1, 2, 3, 8])
    return rng.random() < 0.9, [_random_statement(rng, source) for _ in range(length)]


def _random_statement(rng: random.Random, source: Source) -> Step:
    kind = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    verb = rng.choice(["", "OR REPLACE", "OR REPLACE", "OR IGNORE", "OR FAIL"])
    key = (rng.choice(KEY_VALUES), rng.choice(PARTS))
    picks = [rng.choice(VALUES) for _ in range(6)]
    column, value, row_number = rng.choice("uv"), rng.choice(VALUES), rng.choice([1, 2, 3, 4])
    return {
        "insert": ("insert", verb, key, picks),
        "insert few": ("insert few", verb, key),
        "insert rowid": ("insert rowid", verb, row_number, key, picks),
        "insert null key": ("insert null key", picks),
        "update": ("update", verb, column, value, key),
        "update all": ("update all", verb, column, value),
        "update rowid": ("update rowid", verb, row_number, key),
        "rekey": ("rekey", verb, rng.choice(KEY_VALUES), key),
        "upsert": ("upsert", key, picks),
        "delete": ("delete", key),
        "delete all": ("delete all",),
        "child": ("child", rng.choice([1, 2, 3]), key[0]),
        "savepoint": ("savepoint", rng.random() < 0.5, verb, key, picks),
    }[kind]


def run(connection: sqlite3.Connection, source: Source, steps: list[tuple[bool, list[Step]]]) -> None:
    """Runs transactions; those whose flag is false are rolled back. A statement that a constraint refuses does nothing."""
    for is_committed, statements in steps:
        connection.execute("BEGIN")
        for statement in statements:
            with suppress(sqlite3.IntegrityError, sqlite3.OperationalError):
                _STATEMENTS[statement[0]](connection, source, *statement[1:])
        with suppress(sqlite3.OperationalError):
            try:
                connection.execute("COMMIT" if is_committed else "ROLLBACK")
            except sqlite3.IntegrityError:
                connection.execute("ROLLBACK")


def _row(source: Source, key: tuple[Any, ...], picks: list[Any]) -> list[Any]:
    width = len(source.key)
    return [*key[:width], *picks[: len(source.columns) - width]]


def _match(source: Source) -> str:
    return " AND ".join(f"{name} = ?" for name in ("id", "part")[: len(source.key)])


def _insert(
    connection: sqlite3.Connection, source: Source, verb: str, key: tuple[Any, ...], picks: list[Any], tail: str = ""
) -> None:
    marks = ", ".join("?" * len(source.columns))
    sql = f"INSERT {verb} INTO t ({', '.join(source.columns)}) VALUES ({marks}) {tail}"
    connection.execute(sql, _row(source, key, picks))


def _insert_few(connection: sqlite3.Connection, source: Source, verb: str, key: tuple[Any, ...]) -> None:
    names = ("id", "part")[: len(source.key)]
    sql = f"INSERT {verb} INTO t ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    connection.execute(sql, key[: len(names)])


def _insert_rowid(
    connection: sqlite3.Connection, source: Source, verb: str, at: int, key: tuple[Any, ...], picks: list[Any]
) -> None:
    marks = ", ".join("?" * (len(source.columns) + 1))
    sql = f"INSERT {verb} INTO t (rowid, {', '.join(source.columns)}) VALUES ({marks})"
    connection.execute(sql, [at, *_row(source, key, picks)])


def _savepoint(
    connection: sqlite3.Connection, source: Source, is_kept: bool, verb: str, key: tuple[Any, ...], picks: list[Any]
) -> None:
    connection.execute("SAVEPOINT s")
    with suppress(sqlite3.IntegrityError, sqlite3.OperationalError):
        _insert(connection, source, verb, key, picks)
        connection.execute("UPDATE t SET v = 2")
    connection.execute("RELEASE s" if is_kept else "ROLLBACK TO s")
    if not is_kept:
        connection.execute("RELEASE s")


_STATEMENTS: dict[str, Any] = {
    "insert": _insert,
    "insert null key": lambda c, s, picks: _insert(c, s, "", (None, 1), picks),
    "insert few": _insert_few,
    "insert rowid": _insert_rowid,
    "update": lambda c, s, verb, name, value, key: c.execute(
        f"UPDATE {verb} t SET {name} = ? WHERE {_match(s)}", (value, *key[: len(s.key)])
    ),
    "update all": lambda c, s, verb, name, value: c.execute(f"UPDATE {verb} t SET {name} = ?", (value,)),
    "update rowid": lambda c, s, verb, at, key: c.execute(
        f"UPDATE {verb} t SET rowid = ? WHERE {_match(s)}", (at, *key[: len(s.key)])
    ),
    "rekey": lambda c, s, verb, new, key: c.execute(f"UPDATE {verb} t SET id = ? WHERE {_match(s)}", (new, *key[: len(s.key)])),
    "upsert": lambda c, s, key, picks: _insert(c, s, "", key, picks, "ON CONFLICT DO UPDATE SET v = 7, u = excluded.u"),
    "delete": lambda c, s, key: c.execute(f"DELETE FROM t WHERE {_match(s)}", key[: len(s.key)]),
    "delete all": lambda c, s: c.execute("DELETE FROM t"),
    "child": lambda c, s, n, key: c.execute("INSERT OR REPLACE INTO c VALUES (?, ?)", (n, key)),
    "savepoint": _savepoint,
}
