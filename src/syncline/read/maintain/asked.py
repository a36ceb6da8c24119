"""A named query's SQL, looked at before it is ever run: which views it reads, and that it can do nothing but read them.

Pure. What a query may do is less than what a SELECT can: no other tables, no locks, and on PostgreSQL, where functions can reach
files and settings, none but those that are known to compute and nothing else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlglot import exp

from syncline.errors import UnsupportedQuery
from syncline.read.maintain.parse import plain, quoted, render, resolve
from syncline.read.maintain.postgres_known import CHANGING, IMMUTABLE, INSTEAD, MANY, OPERATORS, ORDERED, OTHER_NAMES, STRUCTURE
from syncline.read.maintain.postgres_refuse import name_of
from syncline.read.maintain.query import line_of
from syncline.read.maintain.reading import read_one
from syncline.read.maintain.schema import Catalog, Source
from syncline.read.named_query import CLAIM_PREFIX, NamedQuery

RowFilters = Mapping[str, Mapping[str, str]]
"""Of which rows of a view a caller sees: view → column → the claim that the column equals."""

_ALONE = ("current_setting", "setseed", "nextval", "currval", "lastval")
_FORMATTING = (
    "age", "array_to_json", "corr", "date_bin", "date_part", "div", "format", "json_build_array", "json_build_object",
    "jsonb_build_array", "jsonb_build_object", "jsonb_pretty", "plainto_tsquery", "row", "row_to_json", "similarity",
    "string_to_array", "to_char", "to_date", "to_json", "to_jsonb", "to_number", "to_timestamp", "to_tsquery", "to_tsvector",
    "ts_headline", "ts_rank", "unaccent", "websearch_to_tsquery",
)  # fmt: skip
_COMPUTING = frozenset(
    {*IMMUTABLE, *OTHER_NAMES, *ORDERED, *MANY, *INSTEAD, *_FORMATTING, *(name for name in CHANGING if name not in _ALONE)}
)
_NAMES = {"sqlite": ("SQLite", "the sqlite3 shell"), "postgres": ("PostgreSQL", "psql")}
_CHANGES = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Command, exp.Into, exp.Lock)


@dataclass(frozen=True, slots=True)
class Asked:
    """A named query that may be run: its SQL with placeholders for tables (as `render` fills in), and the views that it reads.

    `filters` are the row filters of these views: view, column, and the claim of the caller that the column equals.
    """

    query: NamedQuery
    template: str
    reads: tuple[str, ...]
    filters: tuple[tuple[str, str, str], ...] = ()

    @property
    def claims(self) -> tuple[str, ...]:
        """The claims of the caller that must be bound, as parameters named `claim_NAME`."""
        return tuple(sorted({*self.query.claims, *(claim for _, _, claim in self.filters)}))

    def sql(self, tables: Mapping[str, str]) -> str:
        """The query over these tables, of which it sees only what the row filters leave; parameters stay written `:name`."""
        return render(self.template, {view: self._seen(view, table) for view, table in tables.items()})

    def _seen(self, view: str, table: str) -> str:
        conditions = [
            f"{quoted(column)} = :{CLAIM_PREFIX}{claim}" for filtered, column, claim in self.filters if filtered == view
        ]
        return f"(SELECT * FROM {table} WHERE {' AND '.join(conditions)})" if conditions else table


def look_at(query: NamedQuery, views: Iterable[str], dialect: str, filters: RowFilters | None = None) -> Asked:
    """Finds what a named query reads of these views. Raises UnsupportedQuery, with the line, for what it may not do."""
    known = {name: Source(name, (), ((),), is_view=True) for name in views}
    try:
        tree = read_one(query.sql, dialect, *_NAMES[dialect])
        parsed = resolve(query.sql, tree, Catalog(known, dialect))
        for node in parsed.tree.walk():
            _refuse(node, dialect)
    except UnsupportedQuery as error:
        line = query.first_line + max(error.line, 1) - 1
        raise UnsupportedQuery(error.clause, error.reason, error.rewrite, line=line, file=query.file) from error
    reads = tuple(sorted({source.id for source in parsed.sources.values()}))
    of_views = {} if query.unfiltered or filters is None else filters
    return Asked(
        query,
        parsed.text,
        reads,
        tuple((view, column, claim) for view in reads for column, claim in sorted(of_views.get(view, {}).items())),
    )


def _refuse(node: exp.Expr, dialect: str) -> None:
    if isinstance(node, _CHANGES):
        raise UnsupportedQuery(node.key.upper(), "a query only reads", "Leave it out", line=line_of(node))
    if dialect == "postgres" and isinstance(node, exp.Func) and not isinstance(node, OPERATORS + STRUCTURE):
        name = name_of(node)
        if name not in _COMPUTING:
            reason = "it is not known here, and a function may do more than compute"
            advice = "Leave it out, or compute it in a view or in the program that asks"
            raise UnsupportedQuery(f"{plain(name)}()", reason, advice, line=line_of(node))
