"""From the parts of an App to one configuration, and the definitions that send and publish. Opens no database.

A part is a definition at a place (`orders.on(SQLite("orders.db"))`) or a whole configuration (`load_config("syncline.toml")`).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from syncline.codec import EventCodec, classes_of
from syncline.config import (
    Config,
    ReadModelConfig,
    ServiceConfig,
    database_identity,
    schema_fault,
    service_name_fault,
    services_mentioned,
)
from syncline.definitions import ForeignService, NamedQuery, View
from syncline.errors import Fault, InvalidDefinition
from syncline.places import WAL, Events, Placed, Polling, PostgreSQL, Triggers, is_postgres, without_password
from syncline.read.named_query import NamedQuery as ParsedQuery
from syncline.read.view import View as ParsedView
from syncline.read.view import name_fault
from syncline.rows import Published
from syncline.write.event_service import EventService
from syncline.write.outbox import Outbox
from syncline.write.saga import CommandRejected, Saga
from syncline.write.tables import TableService


@dataclass(frozen=True, slots=True)
class Writing:
    """A service that commands can be sent to, its database, and the name of the outbox in the same one, if there is one."""

    definition: EventService | TableService
    config: ServiceConfig
    outbox: str = ""


@dataclass(frozen=True, slots=True)
class PlacedSagas:
    """The sagas that are kept in one database. `sources` gives for each class of events the service, how its events are read, and
    its database; `services` for each command who handles it."""

    database: str
    sagas: tuple[Saga, ...]
    sources: Mapping[type, tuple[str, EventCodec, str]]
    services: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Composition:
    """All that an App holds: what is followed into which read models, what events become, who handles commands, and sagas."""

    config: Config
    published: Mapping[str, Published]
    outboxes: Mapping[str, ServiceConfig]
    writing: Mapping[str, Writing]
    sagas: tuple[PlacedSagas, ...]


def compose(parts: Sequence[Placed | Config]) -> Composition:
    """What these parts are together. Raises InvalidDefinition with all faults; which order they are in does not matter."""
    faults: list[Fault] = []
    configs = [part for part in parts if isinstance(part, Config)]
    placed = [part for part in parts if isinstance(part, Placed)]
    for part in parts:
        if not isinstance(part, Config | Placed):
            faults.append(Fault("", 0, f"{part!r} is not at a place; write for example {_example(part)}"))
    services = [service for config in configs for service in config.services]
    services += [_service(part, faults) for part in placed if not isinstance(part.definition, View | NamedQuery | Saga)]
    _refuse_repeated("service", [service.name for service in services], faults)
    _refuse_shared_logs(services, faults)
    models = _read_models(configs, placed, services, faults)
    by_name = {service.name: service for service in services}
    outbox_in = {
        database_identity(part.store.database): part.definition.name for part in placed if isinstance(part.definition, Outbox)
    }
    writing = {
        part.definition.name: Writing(
            part.definition, by_name[part.definition.name], outbox_in.get(database_identity(part.store.database), "")
        )
        for part in placed
        if isinstance(part.definition, EventService | TableService)
    }
    _refuse_ambiguous(writing, faults)
    sagas = _sagas(placed, writing, models, faults)
    if faults:
        raise InvalidDefinition(faults)
    http = next((config.http for config in configs if config.http is not None), None)
    config = Config(configs[0].path if configs else "", tuple(services), models, http)
    sources = [part.definition for part in placed if isinstance(part.definition, EventService | Outbox)]
    outboxes = {source.name: by_name[source.name] for source in sources if isinstance(source, Outbox)}
    return Composition(config, {source.name: source.published for source in sources}, outboxes, writing, sagas)


def _service(part: Placed, faults: list[Fault]) -> ServiceConfig:
    definition, capture = part.definition, part.capture
    name = str(getattr(definition, "name", definition))
    if not isinstance(definition, EventService | TableService | Outbox | ForeignService):
        faults.append(
            Fault("", 0, f"{definition!r} is neither a service, an outbox, a saga, a view nor a query, which can be placed")
        )
    elif message := service_name_fault(name):
        faults.append(Fault("", 0, f"service '{name}': {message}"))
    database = part.store.database
    if isinstance(definition, EventService | Outbox):
        if not isinstance(capture, Events):
            faults.append(Fault("", 0, f"service '{name}' is followed by its events, not by {capture!r}; leave the capture out"))
        return ServiceConfig(name, database, "events", tuple(definition.relations))
    tables = tuple(definition.publishes if isinstance(definition, TableService) else getattr(definition, "tables", ()))
    if isinstance(capture, Triggers):
        return ServiceConfig(name, database, "triggers", tables)
    if isinstance(capture, Polling):
        return ServiceConfig(name, database, "polling", tables, capture.every_s, capture.changed_at, capture.full_every_s)
    if isinstance(capture, WAL) and isinstance(part.store, PostgreSQL):
        return ServiceConfig(name, database, "wal", tables)
    known = "Triggers(), WAL() or Polling()" if isinstance(part.store, PostgreSQL) else "Triggers() or Polling()"
    faults.append(Fault("", 0, f"service '{name}' is placed with {capture!r}; its capture is {known}"))
    return ServiceConfig(name, database, "triggers", tables)


def _sagas(
    placed: Sequence[Placed], writing: Mapping[str, Writing], models: Sequence[ReadModelConfig], faults: list[Fault]
) -> tuple[PlacedSagas, ...]:
    """The sagas of each database. What one reads and sends must be of services of the same App."""
    services = {name: service for service, each in writing.items() for name in each.definition.command_codec.classes}
    sources: dict[type, list[tuple[str, EventCodec, str]]] = {}
    for part in placed:
        if isinstance(part.definition, EventService | Outbox):
            source = (part.definition.name, part.definition.event_codec, part.store.database)
            for kind in classes_of(part.definition.events):
                sources.setdefault(kind, []).append(source)
    found: dict[str, list[Saga]] = {}
    for part in placed:
        if isinstance(part.definition, Saga):
            faults += _saga_faults(part.definition, sources, services, writing)
            found.setdefault(part.store.database, []).append(part.definition)
    _refuse_repeated("saga", [saga.name for sagas in found.values() for saga in sagas], faults)
    stores = {database_identity(model.database) for model in models}
    for database in found:
        if database_identity(database) in stores and not is_postgres(database):
            faults.append(Fault("", 0, f"'{database}' is a read store; keep sagas in a database of their own"))
    of_one = {kind: each[0] for kind, each in sources.items()}
    return tuple(PlacedSagas(database, tuple(sagas), of_one, services) for database, sagas in found.items())


def _saga_faults(
    saga: Saga,
    sources: Mapping[type, Sequence[tuple[str, EventCodec, str]]],
    services: Mapping[str, str],
    writing: Mapping[str, Writing],
) -> Iterator[Fault]:
    for kind in saga.event_classes:
        its = [name for name, _, _ in sources.get(kind, ())]
        if kind is not CommandRejected and not its:
            yield Fault(
                "", 0, f"saga '{saga.name}' reads {kind.__name__}, which is an event of no service or outbox here; place that"
            )
        elif len(its) > 1:
            message = f"saga '{saga.name}' reads {kind.__name__}, which is an event of {' and '.join(its)}"
            yield Fault("", 0, f"{message}; give each a class of its own")
    for name, kind in saga.command_codec.classes.items():
        service = services.get(name)
        if service is None:
            yield Fault("", 0, f"saga '{saga.name}' sends {name}, which no service here handles; place the one that does")
        elif writing[service].definition.command_codec.classes[name] is not kind:
            yield Fault(
                "", 0, f"saga '{saga.name}' sends a {name} that is not the class that service '{service}' handles; import that"
            )


def _read_models(
    configs: Sequence[Config], placed: Sequence[Placed], services: Sequence[ServiceConfig], faults: list[Fault]
) -> tuple[ReadModelConfig, ...]:
    models = {model.database: model for config in configs for model in config.read_models}
    views: dict[str, list[ParsedView]] = {database: list(model.views) for database, model in models.items()}
    queries: dict[str, list[ParsedQuery]] = {database: list(model.queries) for database, model in models.items()}
    for part in placed:
        database = part.store.database
        try:
            if isinstance(part.definition, View):
                views.setdefault(database, []).append(part.definition.parsed())
            elif isinstance(part.definition, NamedQuery):
                queries.setdefault(database, []).append(part.definition.parsed())
        except InvalidDefinition as error:
            faults += error.faults
    for database in [*views, *(database for database in queries if database not in views)]:
        its, asked = views.get(database, []), queries.get(database, [])
        _refuse_repeated("view", [view.name for view in its], faults)
        _refuse_repeated("query", [query.name for query in asked], faults)
        model = models.get(database) or ReadModelConfig(_model_name(database, models.values()), database, ())
        models[database] = replace(model, views=tuple(its), services=services_mentioned(its, services), queries=tuple(asked))
    for database, model in models.items():
        shown = without_password(database)
        one = database_identity(database)
        owner = next((service.name for service in services if database_identity(service.database) == one), None)
        if owner is not None:
            faults.append(Fault("", 0, f"read store '{shown}' is the database of service '{owner}'; give it one of its own"))
        if message := schema_fault(model, [service.name for service in services]):
            faults.append(Fault("", 0, message))
        if fault := name_fault(model.name):
            faults.append(Fault("", 0, f"read store '{shown}': a read model is named after its database: {fault}; rename it"))
    return tuple(models.values())


def _model_name(database: str, others: Iterable[ReadModelConfig]) -> str:
    taken = {model.name for model in others}
    name = urlsplit(database).path if is_postgres(database) else database
    stem = re.sub(r"\W", "_", Path(name).stem.lower())
    return next(name for name in (stem, *(f"{stem}_{number}" for number in range(2, 1_000))) if name not in taken)


def _refuse_repeated(what: str, names: Sequence[str], faults: list[Fault]) -> None:
    for name in sorted({name for name in names if names.count(name) > 1}):
        faults.append(Fault("", 0, f"two parts are {what} '{name}'; rename one, or remove it"))


def _refuse_shared_logs(services: Sequence[ServiceConfig], faults: list[Fault]) -> None:
    """A database holds one event log, and one log of dirty keys."""
    owners: dict[tuple[str, bool], str] = {}
    for service in services:
        owner = owners.setdefault((database_identity(service.database), service.capture == "events"), service.name)
        if owner != service.name:
            message = f"services '{owner}' and '{service.name}' have one database, '{without_password(service.database)}'"
            faults.append(Fault("", 0, f"{message}; give each one of its own"))


def _refuse_ambiguous(writing: Mapping[str, Writing], faults: list[Fault]) -> None:
    """A command is sent by its class, or by its name: either tells the service."""
    owners: dict[str, str] = {}
    for service, each in writing.items():
        for name in each.definition.command_codec.classes:
            owner = owners.setdefault(name, service)
            if owner != service:
                faults.append(Fault("", 0, f"services '{owner}' and '{service}' both have a command '{name}'; rename one"))


def _example(part: object) -> str:
    return f'{getattr(part, "name", "orders")}.on(SQLite("{getattr(part, "name", "orders")}.db"))'
