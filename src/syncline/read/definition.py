"""A view with the plans that keep it exact: what a read store remembers of it, as JSON, so that it can go on by itself."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from syncline.errors import InvalidDefinition, UnsupportedQuery
from syncline.messages import Column
from syncline.read.maintain.compiler import compile_view
from syncline.read.maintain.dialect import Dialect
from syncline.read.maintain.dialects import DIALECTS
from syncline.read.maintain.parse import names_read
from syncline.read.maintain.plan import Index, ViewPlan, Walk
from syncline.read.maintain.schema import Catalog
from syncline.read.view import View


@dataclass(frozen=True, slots=True)
class Definition:
    """A view and its plans: hidden ones first, its own last."""

    view: View
    plans: tuple[ViewPlan, ...]

    @property
    def own_plan(self) -> ViewPlan:
        return self.plans[-1]

    @property
    def reads(self) -> frozenset[str]:
        """The mirrors and other views that any of its plans reads."""
        own = {plan.name for plan in self.plans}
        return frozenset(source for plan in self.plans for source in plan.reads if source not in own)

    @property
    def fingerprint(self) -> str:
        """Equal for definitions whose stored rows are the same; changes with the query, the key or the indexes."""
        return hashlib.sha256(
            json.dumps([asdict(replace(plan, warnings=())) for plan in self.plans], sort_keys=True).encode()
        ).hexdigest()[:16]

    def dumps(self) -> str:
        return json.dumps({"view": asdict(self.view), "plans": [asdict(plan) for plan in self.plans]})


def loads(text: str) -> Definition:
    """The definition that `dumps` wrote."""
    body = json.loads(text)
    view = View(**{**body["view"], "key": tuple(body["view"]["key"]), "indexes": _tuples(body["view"]["indexes"])})
    return Definition(view, tuple(_plan(plan) for plan in body["plans"]))


def define_views(views: Sequence[View], catalog: Catalog) -> tuple[list[Definition], list[Exception]]:
    """Compiles views, each after those that it reads. Returns what could be compiled, and what was refused and why."""
    waiting, made, refused = list(views), list[Definition](), list[Exception]()
    while waiting:
        stuck: list[tuple[View, Exception]] = []
        for view in waiting:
            try:
                definition = Definition(view, tuple(compile_view(view, catalog)))
            except InvalidDefinition as error:
                stuck.append((view, error))
            except Exception as error:
                reason = f"it could not be analysed ({type(error).__name__}: {error})"
                advice = "Simplify it until it is accepted, to find the part that is not, and report that"
                stuck.append((view, UnsupportedQuery("SELECT", reason, advice, line=view.first_line, file=view.file)))
            else:
                made.append(definition)
                catalog = catalog.with_source(view.name, definition.own_plan.as_source())
        if len(stuck) == len(waiting):
            refused = _reasons(stuck, DIALECTS[catalog.dialect])
            break
        waiting = [view for view, _ in stuck]
    return made, refused


def _reasons(stuck: Sequence[tuple[View, Exception]], dialect: Dialect) -> list[Exception]:
    """Why each view was refused: a view that reads a refused one need not know the reason itself."""
    names = {view.name for view, _ in stuck}
    read = {view.name: {name: line for name, line in names_read(view.sql, dialect).items() if name in names} for view, _ in stuck}
    reasons: list[Exception] = []
    for view, error in stuck:
        reached = _reached(view.name, read)
        line = view.first_line - 1 + next(iter(read[view.name].values()), 0)
        if view.name in reached:
            loop = ", ".join(sorted(name for name in reached if view.name in _reached(name, read)))
            reason, advice = f"these views read each other: {loop}", "Let one of them read relations only"
            reasons.append(UnsupportedQuery(f"view {view.name}", reason, advice, line=line, file=view.file))
        elif read[view.name]:
            parent = next(iter(read[view.name]))
            reason, advice = f"view '{parent}' is refused itself", f"Mend '{parent}' first"
            reasons.append(UnsupportedQuery(f"FROM {parent}", reason, advice, line=line, file=view.file))
        else:
            reasons.append(error)
    return reasons


def _reached(name: str, read: Mapping[str, Mapping[str, int]]) -> set[str]:
    """The refused views that a view reads, directly or through others."""
    reached: set[str] = set()
    waiting = list(read[name])
    while waiting:
        if (found := waiting.pop()) not in reached:
            reached.add(found)
            waiting += read[found]
    return reached


def columns_read(definitions: Iterable[Definition]) -> Mapping[str, frozenset[str]]:
    """For each source that any definition reads, the columns that are used of it (none where only rows are counted)."""
    used: dict[str, frozenset[str]] = {}
    for definition in definitions:
        for plan in definition.plans:
            for source in plan.reads:
                used.setdefault(source, frozenset())
            for source, names in plan.columns_read:
                used[source] = used.get(source, frozenset()) | set(names)
    return used


def _plan(body: dict[str, Any]) -> ViewPlan:
    body["columns"] = tuple(Column(**column) for column in body["columns"])
    body["partition"] = tuple(Column(**column) for column in body["partition"])
    body["walks"] = tuple(Walk(**walk) for walk in body["walks"])
    body["indexes"] = tuple(Index(index["source"], tuple(index["expressions"])) for index in body["indexes"])
    for name in ("columns_read", "values"):
        body[name] = tuple((about, tuple(names)) for about, names in body[name])
    for name in ("key", "visible", "partition_columns", "reads", "warnings"):
        body[name] = tuple(body[name])
    for name in ("own_indexes", "unique"):
        body[name] = _tuples(body[name])
    return ViewPlan(**body)


def _tuples(lists: Iterable[Iterable[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(items) for items in lists)
