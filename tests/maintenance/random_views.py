"""Random schemas and random views over them, drawn from a grammar.

Most queries are of a kind that can be kept exact; those that are refused are drawn again. Sums are of small numbers and
halves, so that they do not depend on the order of addition.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.maintenance.mirror_world import Table, Value, number, one_of, table

from syncline.errors import UnsupportedQuery
from syncline.read.definition import Definition
from syncline.read.maintain.compiler import compile_view
from syncline.read.maintain.schema import Catalog, catalog_of
from syncline.read.view import parse_view

_TYPES: dict[str, Value] = {
    "INTEGER": one_of(1, 2, 3, None, 2**40, -1, 0),
    "INTEGER NOT NULL": number(1, 3),
    "TEXT": one_of("a", "A", "b", "", None, "1", "b "),
    "TEXT NOT NULL": one_of("a", "b", "1"),
    "TEXT COLLATE NOCASE": one_of("a", "A", "b", None, "é", "É"),
    "TEXT COLLATE RTRIM": one_of("a", "a ", "b", None),
    "REAL": one_of(0.5, 1, 2.0, None, -3.25),
    "NUMERIC": one_of(1, "2", 2.5, "x", None),
    "": one_of(1, 1.0, "1", b"1", "", None, "a", "A"),
}
_COLUMNS = ("p", "q", "r")


@dataclass(frozen=True)
class Readable:
    """What a FROM may name: columns by name with what they are."""

    name: str
    columns: dict[str, str]
    key: tuple[str, ...]


def random_tables(rng: random.Random) -> list[Table]:
    tables: list[Table] = []
    for position in range(rng.randint(3, 5)):
        service = "one" if position % 2 else "two"
        keys = rng.choice(
            (["id INTEGER"], ["id INTEGER"], ["id INTEGER", "n INTEGER"], ["id TEXT"], ["id TEXT COLLATE NOCASE"], ["id"])
        )
        columns: list[tuple[str, Value]] = []
        for declaration in keys:
            kind = declaration.partition(" ")[2]
            values = [v for v in (_TYPES[kind](random.Random(i)) for i in range(40)) if v is not None]
            columns.append(
                (
                    declaration if len(keys) == 1 and kind == "INTEGER" else f"{declaration} NOT NULL",
                    one_of(*values, *([4, 5] if kind == "INTEGER" else [])),
                )
            )
        for name in _COLUMNS[: rng.randint(1, 3)]:
            kind = rng.choice(list(_TYPES))
            columns.append((f"{name} {kind}".strip(), _TYPES[kind]))
        key = [declaration.split()[0] for declaration in keys]
        without = len(key) > 1 or "TEXT" in keys[0]
        tables.append(table(f"{service}.t{position}", columns, key, without_rowid=without))
    return tables


def random_definitions(rng: random.Random, tables: Sequence[Table], count: int) -> tuple[list[Definition], int]:
    """Views that were accepted, some reading others, and how many were refused on the way."""
    catalog = catalog_of(each.relation for each in tables)
    readables = [
        Readable(t.relation.name, {c.name: f"{c.declared_type} {c.collation}" for c in t.relation.columns}, t.relation.key)
        for t in tables
    ]
    made: list[Definition] = []
    refused = 0
    while len(made) < count and refused < 200:
        text = Query(rng, readables).text()
        definition = _compiled(f"v{len(made)}", text, catalog)
        if definition is None:
            refused += 1
            continue
        made.append(definition)
        plan = definition.own_plan
        catalog = catalog.with_source(plan.name, plan.as_source())
        kinds = {c.name: f"{c.declared_type} {c.collation}" for c in plan.columns if c.name in plan.visible}
        readables.append(Readable(plan.name, kinds, plan.key))
    return made, refused


def _compiled(name: str, text: str, catalog: Catalog) -> Definition | None:
    view = parse_view(name, text, f"{name}.sql")
    try:
        return Definition(view, tuple(compile_view(view, catalog)))
    except UnsupportedQuery as error:
        assert error.clause and error.reason and error.rewrite and error.faults[0].file, text
        return None


class Query:
    """Draws one view. Aliases are counted, so that no name is used twice."""

    def __init__(self, rng: random.Random, readables: Sequence[Readable]) -> None:
        self.rng = rng
        self.readables = list(readables)
        self.aliases = 0

    def text(self) -> str:
        shape = self.rng.choice(
            (self.rows, self.rows, self.rows, self.groups, self.groups, self.distinct, self.compound, self.union_all, self.windows,
             self.over_groups, self.cte)
        )  # fmt: skip
        return shape()

    # -- shapes --------------------------------------------------------------------------------------------------------

    def rows(self) -> str:
        uses, source = self.joined()
        outputs = [f"{alias}.{name} AS k{alias}{name}" for alias, its in uses for name in its.key]
        key = [output.split(" AS ")[1] for output in outputs]
        outputs += [f"{self.value(uses)} AS c{i}" for i in range(self.rng.randint(0, 3))]
        if self.rng.random() < 0.3:
            outputs.append(f"{self.scalar(uses)} AS s")
        self.rng.shuffle(key)
        if self.rng.random() < 0.3 and len(key) > 1:
            key = key[: len(uses[0][1].key)]
        return f"-- key: {', '.join(key)}\nSELECT {', '.join(outputs)} FROM {source}{self.where(uses)}"

    def groups(self) -> str:
        uses, source = self.joined()
        groups = list(dict.fromkeys(self.value(uses, exact=True) for _ in range(self.rng.randint(1, 2))))
        outputs = [f"{group} AS g{i}" for i, group in enumerate(groups)]
        outputs += [f"{self.aggregate(uses)} AS a{i}" for i in range(self.rng.randint(0, 3))]
        having = f" HAVING {self.aggregate(uses)} {self.rng.choice(('>', 'IS NOT', '<'))} 1" if self.rng.random() < 0.3 else ""
        keys = ", ".join(f"g{i}" for i in range(len(groups)))
        return f"-- key: {keys}\nSELECT {', '.join(outputs)} FROM {source}{self.where(uses)} GROUP BY {', '.join(groups)}{having}"

    def distinct(self) -> str:
        uses, source = self.joined()
        outputs = [f"{self.value(uses, exact=True)} AS g{i}" for i in range(self.rng.randint(1, 2))]
        keys = ", ".join(f"g{i}" for i in range(len(outputs)))
        return f"-- key: {keys}\nSELECT DISTINCT {', '.join(outputs)} FROM {source}{self.where(uses)}"

    def compound(self) -> str:
        parts: list[str] = []
        for _ in range(self.rng.randint(2, 3)):
            uses, source = self.joined(most=2)
            parts.append(
                f"SELECT CAST({self.value(uses)} AS TEXT) AS a, CAST({self.value(uses)} AS INTEGER) AS b FROM {source}{self.where(uses)}"
            )
        operator = self.rng.choice((" UNION ", " INTERSECT ", " EXCEPT "))
        return "-- key: a, b\n" + operator.join(parts)

    def union_all(self) -> str:
        parts: list[str] = []
        for number_ in range(self.rng.randint(2, 3)):
            one = self.rng.choice([r for r in self.readables if len(r.key) == 1] or self.readables)
            alias = self.alias()
            uses = [(alias, one)]
            parts.append(
                f"SELECT {number_} AS kind, CAST({alias}.{one.key[0]} AS TEXT) AS id, {alias}.{one.key[0]} IS NULL AS lacks "
                f"FROM {one.name} AS {alias}{self.where(uses)}"
            )
        inner = " UNION ALL ".join(parts)
        return f"-- key: kind, lacks\nSELECT u.kind, u.lacks, count(*) AS n, max(u.id) AS last FROM ({inner}) AS u GROUP BY u.kind, u.lacks"

    def windows(self) -> str:
        uses, source = self.joined(most=2)
        keys = [f"{alias}.{name}" for alias, its in uses for name in its.key]
        outputs = [f"{key} AS k{i}" for i, key in enumerate(keys)]
        part = self.value(uses)
        order = ", ".join([self.column(uses), *keys])
        argument = self.number(uses)
        for i in range(self.rng.randint(1, 2)):
            function = self.rng.choice(
                (f"row_number() OVER (PARTITION BY {part} ORDER BY {order})", f"count(*) OVER (PARTITION BY {part})",
                 f"sum({argument}) OVER (PARTITION BY {part} ORDER BY {order})", f"rank() OVER (PARTITION BY {part} ORDER BY {argument})",
                 f"lag({argument}, 1, 0) OVER (PARTITION BY {part} ORDER BY {order})")
            )  # fmt: skip
            outputs.append(f"{function} AS w{i}")
        inner = f"SELECT {', '.join(outputs)} FROM {source}{self.where(uses)}"
        names = ", ".join(f"k{i}" for i in range(len(keys)))
        if self.rng.random() < 0.4:
            return f"-- key: {names}\nSELECT {names}, w0 FROM ({inner}) AS w WHERE w0 <= 2"
        return f"-- key: {names}\n{inner}"

    def over_groups(self) -> str:
        uses, source = self.joined()
        group = self.value(uses, exact=True)
        inner = (
            f"SELECT {group} AS g, {self.aggregate(uses)} AS a, count(*) AS n FROM {source}{self.where(uses)} GROUP BY {group}"
        )
        if self.rng.random() < 0.5:
            return f"-- key: n\nSELECT n, count(*) AS m, count(g) AS k FROM ({inner}) AS d GROUP BY n"
        one, alias = self.rng.choice(self.readables), self.alias()
        keys = [f"{alias}.{name} AS k{i}" for i, name in enumerate(one.key)]
        names = ", ".join(["g", *(f"k{i}" for i in range(len(keys)))])
        kind = self.rng.choice(("JOIN", "LEFT JOIN"))
        on = f"{alias}.{self.rng.choice(list(one.columns))} = d.{self.rng.choice(('g', 'n', 'g'))}"
        return f"-- key: {names}\nSELECT d.g, d.a, {', '.join(keys)} FROM ({inner}) AS d {kind} {one.name} AS {alias} ON {on}"

    def cte(self) -> str:
        one = self.rng.choice(self.readables)
        alias = self.alias()
        columns = ", ".join(f"{alias}.{name}" for name in one.columns)
        where = self.where([(alias, one)])
        self.readables = [*self.readables, Readable("part", one.columns, one.key)] * 1
        self.readables += [Readable("part", one.columns, one.key)] * 3
        body = self.rng.choice((self.rows, self.groups))()
        head, _, query = body.partition("\n")
        return f"{head}\nWITH part AS (SELECT {columns} FROM {one.name} AS {alias}{where}) {query}"

    # -- parts -----------------------------------------------------------------------------------------------------

    def alias(self) -> str:
        self.aliases += 1
        return f"a{self.aliases}"

    def joined(self, most: int = 4) -> tuple[list[tuple[str, Readable]], str]:
        uses = [(self.alias(), self.rng.choice(self.readables))]
        text = f"{uses[0][1].name} AS {uses[0][0]}"
        for _ in range(self.rng.choice((0, 1, 1, 2, most - 1)) if most > 2 else self.rng.randint(0, 1)):
            alias, one = self.alias(), self.rng.choice(self.readables)
            on = f"{self.equality(alias, one, uses)}"
            if self.rng.random() < 0.25:
                on += f" AND {self.predicate([*uses, (alias, one)])}"
            kind = self.rng.choice(("JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN" if len(uses) == 1 else "JOIN"))
            text += f" {kind} {one.name} AS {alias} ON {on}"
            uses.append((alias, one))
        return uses, text

    def equality(self, alias: str, one: Readable, uses: list[tuple[str, Readable]]) -> str:
        mine = f"{alias}.{self.rng.choice([*one.key, *one.columns])}"
        other = self.column(uses) if self.rng.random() < 0.85 else self.value(uses)
        return f"{mine} = {other}" if self.rng.random() < 0.5 else f"{other} = {mine}"

    def column(self, uses: list[tuple[str, Readable]]) -> str:
        alias, one = self.rng.choice(uses)
        return f"{alias}.{self.rng.choice([*one.key, *one.columns])}"

    def number(self, uses: list[tuple[str, Readable]]) -> str:
        """A value that adds up alike in any order."""
        numbers = [f"{a}.{n}" for a, one in uses for n, kind in one.columns.items() if "INT" in kind or "REAL" in kind]
        return self.rng.choice(numbers) if numbers else "1"

    def value(self, uses: list[tuple[str, Readable]], *, exact: bool = False) -> str:
        column = self.column(uses)
        plain = [column] * 4
        return self.rng.choice(
            (*plain, f"coalesce({column}, {self.column(uses)})", f"CAST({column} AS {self.rng.choice(('TEXT', 'INTEGER'))})", f"{column} IS NULL",
             f"lower({column})", f"{column} || 'x'", f"CASE WHEN {self.comparison(uses)} THEN 'yes' ELSE 'no' END", f"typeof({column})",
             f"{self.number(uses)} + 1", f"{column} = {self.column(uses)}", f"{column} COLLATE NOCASE")
        )  # fmt: skip

    def aggregate(self, uses: list[tuple[str, Readable]]) -> str:
        column, number_ = self.column(uses), self.number(uses)
        plain = self.rng.choice(
            ("count(*)", f"count({column})", f"count(DISTINCT {column})", f"sum({number_})", f"min({number_})", f"max({column})",
             f"avg({number_})", f"total({number_})", f"min({column})")
        )  # fmt: skip
        return f"{plain} FILTER (WHERE {self.comparison(uses)})" if self.rng.random() < 0.2 else plain

    def comparison(self, uses: list[tuple[str, Readable]]) -> str:
        operator = self.rng.choice(("=", "<>", "<", ">=", "IS", "IS NOT", "LIKE"))
        right = self.rng.choice(("1", "'a'", "'1'", "2.0", "''", self.column(uses)))
        return f"{self.column(uses)} {operator} {right}"

    def predicate(self, uses: list[tuple[str, Readable]]) -> str:
        chance = self.rng.random()
        if chance < 0.45:
            return self.comparison(uses)
        if chance < 0.55:
            return f"{self.column(uses)} IS {self.rng.choice(('NULL', 'NOT NULL'))}"
        if chance < 0.65:
            return f"({self.predicate(uses)} OR {self.predicate(uses)})"
        if chance < 0.75:
            return f"NOT ({self.comparison(uses)})"
        alias, one = self.alias(), self.rng.choice(self.readables)
        inner = self.equality(alias, one, uses)
        if self.rng.random() < 0.5:
            inner += f" AND {self.predicate([*uses, (alias, one)])}" if self.rng.random() < 0.3 else ""
            return f"{self.rng.choice(('', 'NOT '))}EXISTS (SELECT 1 FROM {one.name} AS {alias} WHERE {inner})"
        where = f" WHERE {self.comparison([(alias, one)])}" if self.rng.random() < 0.5 else f" WHERE {inner}"
        return (
            f"{self.column(uses)} {self.rng.choice(('IN', 'IN', 'NOT IN'))} "
            f"(SELECT {alias}.{self.rng.choice(list(one.columns))} FROM {one.name} AS {alias}{where})"
        )

    def scalar(self, uses: list[tuple[str, Readable]]) -> str:
        alias, one = self.alias(), self.rng.choice(self.readables)
        inner = [(alias, one)]
        what = self.aggregate(inner) if self.rng.random() < 0.7 else self.column(inner)
        return f"(SELECT {what} FROM {one.name} AS {alias} WHERE {self.equality(alias, one, uses)})"

    def where(self, uses: list[tuple[str, Readable]]) -> str:
        parts = [self.predicate(uses) for _ in range(self.rng.choice((0, 0, 1, 1, 2)))]
        return f" WHERE {' AND '.join(parts)}" if parts else ""
