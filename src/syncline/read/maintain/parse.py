"""From a view's text to a tree whose tables are sources: reads the SQL, finds what each FROM names.

Pure. Names of sources become `syncline:ID`, so that the physical table can be filled in later without reading SQL again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from sqlglot import exp

from syncline.errors import UnsupportedQuery
from syncline.read.maintain.dialect import Dialect
from syncline.read.maintain.query import line_of
from syncline.read.maintain.schema import Catalog, Source

_PLACEHOLDER = re.compile(r'"syncline:((?:[^"]|"")+)"')


@dataclass(frozen=True, slots=True)
class Parsed:
    """A view's query. `text` is what the user wrote with nothing but the names of tables changed: the definition
    of what is right. `tree` is the same, parsed; `sources` are those it names, by the names in the tree."""

    text: str
    tree: exp.Query
    sources: Mapping[str, Source]


def parse(sql: str, catalog: Catalog, dialect: Dialect) -> Parsed:
    """Reads one SELECT. Raises UnsupportedQuery for a syntax error or a table that is not in the catalog."""
    return resolve(sql, dialect.read(sql), catalog)


def resolve(sql: str, tree: exp.Query, catalog: Catalog) -> Parsed:
    """A SELECT that was read, with its tables found. Changes the tree. Raises UnsupportedQuery for one that is not there."""
    sources: dict[str, Source] = {}
    edits: list[tuple[int, int, str]] = []
    for table in list(tree.find_all(exp.Table)):
        if _names_a_cte(table) or not isinstance(table.this, exp.Identifier):
            continue
        source = catalog.find(_written_name(table))
        if source is None:
            raise _unknown_table(table, catalog)
        name = placeholder(source.id)
        edits.append(_edit(table, quoted(name)))
        alias = table.alias or table.name
        columns = table.args.get("alias")
        if columns is not None and columns.args.get("columns"):
            raise UnsupportedQuery("AS name(columns)", "columns of a table are renamed", "Rename them with AS in SELECT")
        identifier = exp.to_identifier(name, quoted=True)
        identifier.meta.update(table.this.meta)
        table.replace(exp.alias_(exp.Table(this=identifier), alias, table=True, quoted=True))
        sources[name] = source
    text = sql
    for start, end, replacement in sorted(edits, reverse=True):
        text = text[:start] + replacement + text[end:]
    return Parsed(text, tree, sources)


def names_read(sql: str, dialect: Dialect) -> dict[str, int]:
    """The names without a service that the query's FROM clauses hold, with their lines; none if it cannot be read."""
    try:
        tree = dialect.read(sql)
    except UnsupportedQuery:
        return {}
    tables = (table for table in tree.find_all(exp.Table) if not table.db and not _names_a_cte(table))
    return {table.name.lower(): line_of(table) for table in tables}


def placeholder(source_id: str) -> str:
    """How a source is written in generated SQL until the physical table is known."""
    return f"syncline:{source_id}"


def quoted(name: str) -> str:
    """An identifier, safe in SQL whatever characters it holds."""
    return '"' + name.replace('"', '""') + '"'


def render(template: str, tables: Mapping[str, str]) -> str:
    """Generated SQL with every placeholder replaced by what `tables` gives for it: SQL that names a table, quoted already."""
    return _PLACEHOLDER.sub(lambda found: tables[found[1].replace('""', '"')], template)


def plain(sql: str) -> str:
    """SQL as a message shows it: without the quotes that generated names have."""
    return sql.replace('"', "")


def _names_a_cte(table: exp.Table) -> bool:
    if table.args.get("db") is not None:
        return False
    node = table.parent
    while node is not None:
        with_ = node.args.get("with_")
        if with_ is not None and any(cte.alias.lower() == table.name.lower() for cte in with_.expressions):
            return True
        node = node.parent
    return False


def _written_name(table: exp.Table) -> str:
    return f"{table.db}.{table.name}" if table.db else table.name


def _edit(table: exp.Table, name: str) -> tuple[int, int, str]:
    """Where the name stands in the text, and what replaces it."""
    first = table.args["db"] if table.args.get("db") is not None else table.this
    alias = "" if table.args.get("alias") is not None else f" AS {quoted(table.name)}"
    return first.meta["start"], table.this.meta["end"] + 1, f"{name}{alias}"


def _unknown_table(table: exp.Table, catalog: Catalog) -> UnsupportedQuery:
    name = _written_name(table)
    near = get_close_matches(name.lower(), catalog.sources, 1)
    known = ", ".join(sorted(catalog.sources)) or "none"
    hint = f"Did you mean '{near[0]}'?" if near else f"There are: {known}"
    if not table.db and not near:
        hint = f"A relation is written service.table. {hint}"
    return UnsupportedQuery(
        f"FROM {name}", "no service publishes this relation and no view has this name", hint, line=line_of(table)
    )
