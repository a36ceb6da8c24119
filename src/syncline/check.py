"""`syncline check`: everything that can be told before anything is started, all faults at once, and each view's plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from syncline.config import Config, ReadModelConfig
from syncline.defining import all_faults
from syncline.errors import Fault, InvalidDefinition, StoreError, Unavailable
from syncline.messages import Relation
from syncline.read.definition import Definition, define_views
from syncline.read.maintain.asked import look_at
from syncline.read.maintain.plan import ViewPlan, Walk
from syncline.read.maintain.schema import catalog_of
from syncline.services import FollowedService
from syncline.stores.roles import Described, dialect_of, read_role, source_role
from syncline.stores.translation import adapted
from syncline.trial import try_views


@dataclass(frozen=True, slots=True)
class ViewReport:
    """How one view is kept: what it costs, and the SQL it is kept with."""

    read_model: str
    view: str
    key: tuple[str, ...]
    partition: tuple[str, ...]
    cost_class: str
    reads: tuple[str, ...]
    walks: tuple[str, ...]
    indexes: tuple[str, ...]
    warnings: tuple[str, ...]
    sql: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Every view's plan, warnings, and the relations that each service publishes."""

    views: tuple[ViewReport, ...]
    warnings: tuple[str, ...]
    relations: tuple[str, ...]


def _look(service: FollowedService) -> Described:
    """Looks a second time where the database could not be used: a connection that was cut is no fault of the configuration."""
    try:
        return service.look()
    except Unavailable as error:
        if source_role(service.config.database).is_locked(error):
            raise
        return service.look()


def check_config(config: Config, services: Mapping[str, FollowedService]) -> CheckReport:
    """Looks at every service's database and compiles every view. Raises InvalidDefinition with all faults found."""
    faults: list[Fault] = []
    warnings: list[str] = []
    described: dict[str, Described] = {}
    locked: set[str] = set()
    for name, service in services.items():
        try:
            described[name] = _look(service)
        except StoreError as error:
            if source_role(service.config.database).is_locked(error):
                locked.add(name)
                warnings.append(f"service '{name}' could not be looked at: {error}")
            else:
                faults.append(Fault(config.path, service.config.line, str(error)))
        else:
            faults += _refused(config, service, described[name], warnings)
    warnings += [warning for found in described.values() for warning in found.warnings]
    reports: list[ViewReport] = []
    for model in config.read_models:
        if faults or locked & set(model.services):
            continue
        dialect = dialect_of(model.database)
        relations = [adapted(relation, dialect) for name in model.services for relation in described[name].relations]
        definitions, refused = define_views(model.views, catalog_of(relations, dialect))
        faults += all_faults(refused)
        if not refused:
            faults += _query_faults(model, [each.view.name for each in definitions])
            faults += _filter_faults(config, definitions)
        captures = {name: services[name].capture for name in model.services}
        trial = try_views(model, captures, [] if refused else definitions, relations)
        faults += trial.faults
        reports += [_report(model, each, relations, trial.scans.get(each.view.name, ())) for each in definitions]
    if faults:
        raise InvalidDefinition(faults)
    used = {service for model in config.read_models for service in model.services}
    warnings += [f"no view reads service '{name}', so it is not followed" for name in services if name not in used]
    warnings += [
        f"the database of '{name}' still holds triggers that log every change, and nothing here needs them; if no other "
        f"read store does, `syncline uninstall {name}` removes them"
        for name, found in described.items()
        if found.is_captured and (services[name].capture != "triggers" or name not in used)
    ]
    databases = [service.config.database for service in services.values()] + [model.database for model in config.read_models]
    warnings += dict.fromkeys(warning for each in databases for warning in read_role(each).warnings(each))
    published = tuple(relation.name for found in described.values() for relation in found.relations)
    return CheckReport(tuple(reports), tuple(warnings), published)


def _query_faults(model: ReadModelConfig, views: Sequence[str]) -> list[Fault]:
    """What keeps the named queries of a read model from being asked."""
    faults: list[Fault] = []
    for query in model.queries:
        try:
            look_at(query, views, dialect_of(model.database))
        except InvalidDefinition as error:
            faults += error.faults
    return faults


def _filter_faults(config: Config, definitions: Sequence[Definition]) -> list[Fault]:
    """Row filters that name a column which their view does not have, so spelled."""
    filters, line = (config.http.filters, config.http.line) if config.http is not None else ({}, 0)
    return [
        Fault(
            config.path, line, f"[http.filter.{each.view.name}]: the view has no column '{column}'; it has: {', '.join(visible)}"
        )
        for each in definitions
        for visible in (each.own_plan.visible,)
        for column in filters.get(each.view.name, {})
        if column not in visible
    ]


def _refused(config: Config, service: FollowedService, found: Described, warnings: list[str]) -> list[Fault]:
    if service.config.tables == ("*",):
        warnings += [f"{service.name}.{table} is left out: {reason}" for table, reason in found.refused]
        return []
    return [Fault(config.path, service.config.line, reason) for _, reason in found.refused]


def _report(model: ReadModelConfig, definition: Definition, relations: Sequence[Relation], scans: Sequence[str]) -> ViewReport:
    plan = definition.own_plan
    names = {f"{relation.service}__{relation.table}".lower(): relation.name for relation in relations}
    hidden = [each for each in definition.plans if each.is_hidden]
    return ViewReport(
        model.name,
        definition.view.name,
        plan.key,
        tuple(plan.partition_columns),
        "whole" if any(each.cost_class == "whole" for each in definition.plans) else "keys",
        tuple(sorted(names.get(source, source) for source in definition.reads)),
        tuple(_walk(each, walk, names) for each in [plan, *hidden] for walk in each.walks),
        tuple(sorted({f"{i.source} ({', '.join(i.expressions)})" for each in definition.plans for i in each.indexes})),
        (*(warning for each in definition.plans for warning in each.warnings), *(f"a scan: {scan}" for scan in scans)),
        ";\n".join(each.recompute.replace("syncline:", "") for each in definition.plans),
    )


def _walk(plan: ViewPlan, walk: Walk, names: Mapping[str, str]) -> str:
    inner = f"(inner SELECT {plan.name}) " if plan.is_hidden else ""
    return f"{inner}{names.get(walk.source, walk.source)}: {walk.text}"
