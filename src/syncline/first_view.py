"""A first view for databases never seen before: the relation that most others are named in, joined with those.

Pure text. Only joins that cannot multiply rows are made: a column of the root against another relation's whole key.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from syncline.messages import Column, Relation
from syncline.stores.roles import Found

_TOO_COMMON = frozenset({"id", "rowid", "name", "code", "key", "uuid", "type", "number", "no", "position", "n"})
_SQL_WORDS = """
    abort action add after all alter always analyze and as asc attach autoincrement before begin between by
    cascade case cast check collate column commit conflict constraint create cross current current_date
    current_time current_timestamp database default deferrable deferred delete desc detach distinct do drop each
    else end escape except exclude exclusive exists explain fail filter first following for foreign from full
    generated glob group groups having if ignore immediate in index indexed initially inner insert instead
    intersect into is isnull join key last left like limit match materialized natural no not nothing notnull null
    nulls of offset on or order others outer over partition plan pragma preceding primary query raise range
    recursive references regexp reindex release rename replace restrict returning right rollback row rows
    savepoint select set table temp temporary then ties to transaction trigger unbounded union unique update using
    vacuum values view virtual when where window with without interval user
"""
_KEYWORDS = frozenset(_SQL_WORDS.split())


@dataclass(frozen=True, slots=True)
class Link:
    """`column` of one relation holds the single-column key of `parent`."""

    column: str
    parent: Relation


@dataclass(frozen=True, slots=True)
class FirstView:
    """The view file's name (without folder) and text."""

    name: str
    text: str
    joined: tuple[str, ...]


def first_view(all_found: Sequence[Found], taken: Sequence[str] = ()) -> FirstView:
    """The view that joins the most services. `taken` are names that it must not have."""
    root, links = max(
        ((found.relation, _links(found, all_found)) for found in all_found),
        key=lambda each: (len({link.parent.service for link in each[1]} | {each[0].service}), len(each[1])),
    )
    name = _free_name(f"{as_name(root.table)}_overview", taken)
    parents = ", ".join(link.parent.name for link in links)
    about = f"{root.name}, each row joined with {parents}." if links else f"The rows of {root.name}."
    aliases = _aliases([root.table, *(link.parent.table for link in links)])
    used: set[str] = set()
    columns = [f"{aliases[0]}.{quoted(_use(column.name, used))}" for column in root.columns]
    joins: list[str] = []
    for alias, link in zip(aliases[1:], links, strict=True):
        on = f"{alias}.{quoted(link.parent.key[0])} = {aliases[0]}.{quoted(link.column)}"
        joins.append(f"  LEFT JOIN {_source(link.parent)} {alias} ON {on}")
        columns += _parent_columns(alias, link, used)
    listed = ",\n       ".join(columns)
    lines = [
        f"-- {about}",
        "-- Written by `syncline init` as a beginning: change it, remove columns, add views beside it.",
        f"-- key: {', '.join(_option_quoted(name) for name in root.key)}",
        f"SELECT {listed}",
        f"  FROM {_source(root)} {aliases[0]}",
        *joins,
    ]
    return FirstView(name, "\n".join(lines) + "\n", tuple(link.parent.name for link in links))


def as_name(text: str) -> str:
    """`text` as the name of a service or view."""
    name = re.sub(r"[^a-z0-9]+", "_", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", text).lower()).strip("_")
    name = name if name and not name[0].isdigit() else f"s_{name}".rstrip("_")
    return f"{name}_db" if name in ("main", "temp") or name.startswith(("sqlite_", "syncline_")) else name


def quoted(name: str) -> str:
    """`name` as SQL, in quotes where it needs them."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) and name.lower() not in _KEYWORDS:
        return name
    return '"' + name.replace('"', '""') + '"'


def _links(child: Found, all_found: Sequence[Found]) -> list[Link]:
    links: list[Link] = []
    for column in child.relation.columns:
        for other in all_found:
            parent = other.relation
            if parent is not child.relation and len(parent.key) == 1 and _refers(child, column, parent):
                links.append(Link(column.name, parent))
    return links


def _refers(child: Found, column: Column, parent: Relation) -> bool:
    key = parent.key[0].lower()
    for name, table, target in child.foreign:
        is_same = table.lower() == parent.table.lower() and (target is None or target.lower() == key)
        if child.relation.service == parent.service and is_same and name.lower() == column.name.lower():
            return True
    parent_column = next(each for each in parent.columns if each.name.lower() == key)
    if _kind(column) != _kind(parent_column):
        return False
    name = column.name.lower()
    if name == key and key not in _TOO_COMMON:
        return True
    return key in _TOO_COMMON and name in {f"{noun}_{key}" for noun in _nouns(parent.table)}


def _nouns(table: str) -> set[str]:
    """`categories` → categories, category: what a column that refers to the table may be called."""
    noun = as_name(table)
    nouns = {noun, noun.removesuffix("s"), noun.removesuffix("es")}
    return nouns | {noun.removesuffix("ies") + "y"} if noun.endswith("ies") else nouns


def _kind(column: Column) -> str:
    """Whether values of the column are numbers or texts: what never compares equal is not joined."""
    declared = column.declared_type.upper()
    if any(part in declared for part in ("INT", "REAL", "FLOA", "DOUB", "NUM", "DEC")):
        return "number"
    return "text" if any(part in declared for part in ("CHAR", "CLOB", "TEXT")) else declared


def _parent_columns(alias: str, link: Link, used: set[str]) -> list[str]:
    """The parent's columns apart from its key, which the root has; renamed where the name is taken."""
    columns: list[str] = []
    for name in link.parent.column_names:
        if name in link.parent.key:
            continue
        prefix = link.column if link.column not in link.parent.key else as_name(link.parent.table)
        shown = name if name.lower() not in used else f"{prefix.removesuffix('_id')}_{name}"
        given = _use(_free_name(shown, used), used)
        columns.append(f"{alias}.{quoted(name)}" + (f" AS {quoted(given)}" if given != name else ""))
    return columns


def _use(name: str, used: set[str]) -> str:
    used.add(name.lower())
    return name


def _free_name(name: str, taken: Sequence[str] | set[str]) -> str:
    free, count = name, 1
    while free.lower() in taken:
        count += 1
        free = f"{name}_{count}"
    return free


def _aliases(tables: Sequence[str]) -> list[str]:
    """A short name for each, made of the first letters of its words."""
    used: set[str] = set()
    initials = ["".join(word[0] for word in as_name(table).split("_")) for table in tables]
    return [_use(_free_name(each if each not in _KEYWORDS else f"{each}1", used), used) for each in initials]


def _source(relation: Relation) -> str:
    return f"{quoted(relation.service)}.{quoted(relation.table)}"


def _option_quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else '"' + name.replace('"', '""') + '"'
