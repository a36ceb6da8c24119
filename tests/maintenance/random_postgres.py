"""Random schemas of PostgreSQL's types and random views over them: the grammar of `random_views`, with types that fit.

Most queries are of a kind that can be kept exact; those that are refused are drawn again.
"""

import random
from collections.abc import Iterator, Sequence

from tests.maintenance.random_views import Query, Readable
from tests.read_store.postgres_world import World

from syncline.messages import Column, Relation, Row, Scalar

Change = tuple[str, list[Row], list[Row]]

VALUES: dict[str, tuple[Scalar, ...]] = {
    "integer": (1, 2, 3, -1, 0),
    "bigint": (1, 2, 3, 2**40),
    "smallint": (1, 2, 3),
    "text": ("a", "A", "b", "", "1", "b "),
    "character varying(5)": ("a", "A", "b", ""),
    "character(3)": ("a  ", "b  ", "ab "),
    "numeric": ("1", "1.0", "1.00", "2.5", "-3"),
    "numeric(10,2)": ("1.00", "2.50", "-3.00"),
    "double precision": (0.5, 1.0, -3.25, 0.0, -0.0),
    "boolean": (True, False),
    "date": ("2024-01-31", "2024-02-29", "2025-01-01"),
    "timestamp without time zone": ("2024-01-31 10:00:00", "2024-02-29 00:00:00.5"),
    "timestamp with time zone": ("2024-01-31 10:00:00+00", "2024-02-29 23:30:00+00"),
    "uuid": ("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-00000000000a"),
    "jsonb": ('{"a": 1}', '{"a": 1.0}', '{"a": "x"}', "[]"),
    "json": ('{"a": 1}', '{"a" : 1}'),
    "interval": ("P1M", "P30D", "PT1H"),
    "bytea": (b"a", b"\x00", b""),
    "integer[]": ("{1,2}", "{}", "{NULL}"),
    "text[]": ("{a}", '{"",NULL}'),
}
"""What columns of each type may hold, as the program gives and takes it."""
_FAMILIES = {
    "integer": "number", "bigint": "number", "smallint": "number", "numeric": "number", "numeric(10,2)": "number",
    "double precision": "number", "text": "text", "character varying(5)": "text", "character varying": "text", "character(3)": "text",
}  # fmt: skip
_KEYS = ("integer", "bigint", "text", "uuid", "date", "numeric(10,2)", "character(3)", "timestamp with time zone")
_LITERALS = {
    "number": ("1", "2", "0"), "text": ("'a'", "''", "'b '"), "boolean": ("true",), "date": ("'2024-02-29'", "DATE '2025-01-01'"),
    "uuid": ("'00000000-0000-0000-0000-000000000001'",), "bytea": ("'\\x61'",), "interval": ("INTERVAL '1 month'",),
    "timestamp without time zone": ("TIMESTAMP '2024-01-31 10:00:00'",), "timestamp with time zone": ("'2024-01-31 10:00:00+00'",),
    "jsonb": ("""'{"a": 1}'""",), "integer[]": ("ARRAY[1, 2]",), "text[]": ("ARRAY['a']",),
}  # fmt: skip


def random_relations(rng: random.Random) -> list[Relation]:
    """Three to five tables of two services, some with a UNIQUE besides the key."""
    found: list[Relation] = []
    for position in range(rng.randint(3, 5)):
        names = ["id"] if rng.random() < 0.7 else ["id", "n"]
        kinds = [rng.choice(_KEYS[:1] * 4 + _KEYS) for _ in names]
        columns = [Column(name, kind, not_null=True) for name, kind in zip(names, kinds, strict=True)]
        for name in ("p", "q", "Rr", "s")[: rng.randint(1, 4)]:
            columns.append(Column(name, rng.choice(list(VALUES)), not_null=rng.random() < 0.25))
        service = "one" if position % 2 else "two"
        found.append(Relation(service, f"t{position}", tuple(columns), tuple(names), (), dialect="postgres"))
    return found


def random_row(rng: random.Random, relation: Relation) -> tuple[Scalar, ...]:
    return tuple(
        None if not column.not_null and rng.random() < 0.25 else rng.choice(VALUES[column.declared_type])
        for column in relation.columns
    )


def random_changes(rng: random.Random, world: World, service: str) -> Iterator[Change]:
    """New, changed and deleted rows of the service's tables, as a batch takes them."""
    for relation in (each for each in world.relations.values() if each.service == service):
        held = list(world.given[relation.name])
        gone = [key for key in held if rng.random() < 0.15]
        rows = {key_of(relation, row): row for row in (random_row(rng, relation) for _ in range(rng.randint(0, 4)))}
        for key in held:
            if rng.random() < 0.3 and key not in gone and key not in rows:
                drawn = dict(zip(relation.column_names, random_row(rng, relation), strict=True))
                drawn.update(zip(relation.key, key, strict=True))
                rows[key] = tuple(drawn[name] for name in relation.column_names)
        yield relation.name, list(rows.values()), [key for key in gone if key not in rows]


def key_of(relation: Relation, row: Row) -> Row:
    return tuple(row[index] for index in relation.key_indexes)


def readable(name: str, columns: Sequence[Column], key: Sequence[str]) -> Readable:
    """What a FROM may name, its columns spelled as a query must spell them."""
    return Readable(name, {_spelled(c.name): c.declared_type for c in columns}, tuple(map(_spelled, key)))


def family(kind: str) -> str:
    return _FAMILIES.get(kind, kind)


class PostgresQuery(Query):
    """Draws one view. What is compared is of one family of types."""

    def compound(self) -> str:
        parts: list[str] = []
        for _ in range(self.rng.randint(2, 3)):
            uses, source = self.joined(most=2)
            parts.append(f"SELECT {self.worded(uses)} AS a, {self.flag(uses)} AS b FROM {source}{self.where(uses)}")
        operator = self.rng.choice((" UNION ", " INTERSECT ", " EXCEPT "))
        return "-- key: a, b\n" + operator.join(parts)

    def union_all(self) -> str:
        parts: list[str] = []
        for number in range(self.rng.randint(2, 3)):
            uses, source = self.joined(most=2)
            parts.append(
                f"SELECT {number} AS kind, {self.worded(uses)} AS word, {self.flag(uses)} AS f FROM {source}{self.where(uses)}"
            )
        inner = " UNION ALL ".join(parts)
        return f"-- key: kind, f\nSELECT u.kind, u.f, count(*) AS n, max(u.word) AS last FROM ({inner}) AS u GROUP BY u.kind, u.f"

    def over_groups(self) -> str:
        uses, source = self.joined()
        group, kind = self.typed_value(uses, exact=True)
        inner = (
            f"SELECT {group} AS g, {self.aggregate(uses)} AS a, count(*) AS n FROM {source}{self.where(uses)} GROUP BY {group}"
        )
        fitting = [(r, c) for r in self.readables for c, k in r.columns.items() if family(k) == family(kind)]
        if not fitting or self.rng.random() < 0.5:
            return f"-- key: n\nSELECT n, count(*) AS m, count(g) AS k FROM ({inner}) AS d GROUP BY n"
        (one, column), alias = self.rng.choice(fitting), self.alias()
        keys = [f"{alias}.{name} AS k{i}" for i, name in enumerate(one.key)]
        names = ", ".join(["g", *(f"k{i}" for i in range(len(keys)))])
        join = self.rng.choice(("JOIN", "LEFT JOIN"))
        return f"-- key: {names}\nSELECT d.g, d.a, {', '.join(keys)} FROM ({inner}) AS d {join} {one.name} AS {alias} ON {alias}.{column} = d.g"

    # -- parts -----------------------------------------------------------------------------------------------------

    def equality(self, alias: str, one: Readable, uses: list[tuple[str, Readable]]) -> str:
        kinds = {family(kind) for _, its in uses for kind in its.columns.values()}
        fitting = [name for name, kind in one.columns.items() if family(kind) in kinds and family(kind) != "json"]
        if not fitting:
            return f"CAST({alias}.{one.key[0]} AS text) = CAST({self.column(uses)} AS text)"
        name = self.rng.choice(fitting)
        other = self.column(uses, family(one.columns[name]))
        if family(one.columns[name]) == "text" and self.rng.random() < 0.2:
            other = f"lower({other})"
        mine = f"{alias}.{name}"
        return f"{mine} = {other}" if self.rng.random() < 0.5 else f"{other} = {mine}"

    def column(self, uses: list[tuple[str, Readable]], of: str = "") -> str:
        return self.typed_column(uses, of)[0]

    def typed_column(self, uses: list[tuple[str, Readable]], of: str = "") -> tuple[str, str]:
        columns = [
            (f"{alias}.{name}", kind)
            for alias, one in uses
            for name, kind in [*((n, one.columns[n]) for n in one.key), *one.columns.items()]
            if not of or family(kind) == of
        ]
        return self.rng.choice(columns)

    def number(self, uses: list[tuple[str, Readable]]) -> str:
        """A value that adds up alike in any order: the doubles drawn are halves and quarters."""
        columns = [f"{a}.{n}" for a, one in uses for n, kind in one.columns.items() if family(kind) == "number"]
        return self.rng.choice(columns) if columns else "1"

    def value(self, uses: list[tuple[str, Readable]], *, exact: bool = False) -> str:
        return self.typed_value(uses, exact=exact)[0]

    def typed_value(self, uses: list[tuple[str, Readable]], *, exact: bool = False) -> tuple[str, str]:
        column, kind = self.typed_column(uses)
        chance = self.rng.random()
        if chance < 0.5 or (exact and chance < 0.7):
            return (f"CAST({column} AS numeric(12, 1))", "numeric(12,1)") if exact and kind == "numeric" else (column, kind)
        if chance < 0.6:
            return self.flag(uses), "boolean"
        if chance < 0.7:
            return self.worded(uses), "text"
        if chance < 0.75:
            return f"coalesce({column}, {self.column(uses, family(kind))})", ""
        if family(kind) == "number":
            return self.rng.choice(
                (f"{column} + 1", f"-{column}", f"{column} * 2", f"CAST({column} AS numeric(12, 2))", f"abs({column})")
            ), ""
        of_kind = {
            "text": (
                f"upper({column})",
                f"{column} || 'x'",
                f"substr({column}, 1, 1)",
                f"length({column})",
                f"nullif({column}, 'a')",
            ),
            "date": (f"EXTRACT(year FROM {column})", f"{column} + 1", f"date_trunc('month', CAST({column} AS timestamp))"),
            "timestamp without time zone": (
                f"date_trunc('month', {column})",
                f"{column} + INTERVAL '1 day'",
                f"CAST({column} AS date)",
            ),
            "timestamp with time zone": (f"CAST({column} AT TIME ZONE 'UTC' AS date)", f"{column} AT TIME ZONE 'UTC'"),
            "jsonb": (f"{column} ->> 'a'", f"{column} -> 'a'", f"jsonb_typeof({column})"),
            "json": (f"{column} ->> 'a'",),
            "boolean": (f"NOT {column}", f"CAST({column} AS integer)"),
            "integer[]": (f"{column}[1]", f"cardinality({column})"),
        }
        return self.rng.choice(of_kind.get(kind, (f"CASE WHEN {self.comparison(uses)} THEN {column} END",))), ""

    def flag(self, uses: list[tuple[str, Readable]]) -> str:
        return self.rng.choice((f"({self.comparison(uses)})", f"{self.column(uses)} IS NULL"))

    def worded(self, uses: list[tuple[str, Readable]]) -> str:
        column, kind = self.typed_column(uses)
        fits = family(kind) in ("number", "text", "uuid", "boolean") and kind != "double precision"
        return f"CAST({column} AS text)" if fits else f"CASE WHEN {self.comparison(uses)} THEN 'yes' ELSE 'no' END"

    def aggregate(self, uses: list[tuple[str, Readable]]) -> str:
        (column, kind), number = self.typed_column(uses), self.number(uses)
        ordered = kind if kind in ("text", "date", "integer", "timestamp with time zone", "numeric(10,2)") else ""
        counted = f"count(DISTINCT {column})" if kind != "json" else f"count({column})"
        plain = self.rng.choice(
            ("count(*)", f"count({column})", counted, f"sum({number})", f"min({number})", f"avg({number})", f"bool_and({self.flag(uses)})",
             f"max({column})" if ordered else "count(*)", f"sum(DISTINCT {number})")
        )  # fmt: skip
        return f"{plain} FILTER (WHERE {self.comparison(uses)})" if self.rng.random() < 0.2 else plain

    def comparison(self, uses: list[tuple[str, Readable]]) -> str:
        column, kind = self.typed_column(uses)
        if kind in ("json", "") or family(kind) not in _LITERALS:
            return f"{column} IS {self.rng.choice(('', 'NOT '))}NULL"
        operator = self.rng.choice(("=", "<>", "<", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"))
        if family(kind) == "text":
            operator = self.rng.choice((operator, "LIKE", "ILIKE"))
        right = self.rng.choice((*_LITERALS[family(kind)], self.column(uses, family(kind))))
        return f"{column} {operator} {right}"

    def predicate(self, uses: list[tuple[str, Readable]]) -> str:
        chance = self.rng.random()
        if chance >= 0.75 and self.rng.random() < 0.5:
            alias, one = self.alias(), self.rng.choice(self.readables)
            shared = {family(k) for _, its in uses for k in its.columns.values()} & {family(k) for k in one.columns.values()} - {
                "json"
            }
            if shared:
                of = self.rng.choice(sorted(shared))
                where = f" WHERE {self.comparison([(alias, one)])}" if self.rng.random() < 0.5 else ""
                kind = self.rng.choice(("IN", "IN", "NOT IN"))
                return (
                    f"{self.column(uses, of)} {kind} (SELECT {self.column([(alias, one)], of)} FROM {one.name} AS {alias}{where})"
                )
        if chance >= 0.75:
            alias, one = self.alias(), self.rng.choice(self.readables)
            inner = self.equality(alias, one, uses)
            inner += f" AND {self.predicate([*uses, (alias, one)])}" if self.rng.random() < 0.3 else ""
            return f"{self.rng.choice(('', 'NOT '))}EXISTS (SELECT 1 FROM {one.name} AS {alias} WHERE {inner})"
        if chance < 0.45:
            return self.comparison(uses)
        if chance < 0.55:
            return f"{self.column(uses)} IS {self.rng.choice(('NULL', 'NOT NULL'))}"
        if chance < 0.65:
            return f"({self.predicate(uses)} OR {self.predicate(uses)})"
        return f"NOT ({self.comparison(uses)})"


def _spelled(name: str) -> str:
    return name if name == name.lower() else f'"{name}"'
