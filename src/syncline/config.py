"""`syncline.toml` and its view files, read into frozen values.

Every fault found is reported at once, each with file and line and what to do. Opens no database: whether the services'
databases are there and hold the tables is found by `App.check`.
"""

import glob
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

from syncline.errors import Fault, InvalidDefinition
from syncline.http_config import HttpConfig
from syncline.http_section import read_http
from syncline.places import is_postgres, postgres_url, postgres_url_fault
from syncline.read.named_query import NamedQuery, parse_query
from syncline.read.sql_file import suggestion
from syncline.read.view import View, name_fault, parse_view
from syncline.toml_source import TomlSource, read_toml

DEFAULT_EVERY_S = 5.0
DEFAULT_FULL_EVERY_S = 60.0

_CAPTURES = ("triggers", "polling", "wal")
_PYTHON_CAPTURES = ("events", "outbox")
_OTHERS_SCHEMAS = ("public", "information_schema", "syncline")
_POSTGRES = ("postgresql", "postgres")
_SERVICE_KEYS = ("database", "capture", "tables", "every_s", "changed_at", "full_every_s", "push")
_READ_MODEL_KEYS = ("database", "views", "queries")
_SECTIONS = ("service", "read_model", "http")
_Parsed = TypeVar("_Parsed")


class Names(NamedTuple):
    """The names of what a configuration defines."""

    services: Sequence[str] = ()
    views: Sequence[str] = ()
    queries: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """A service whose database is followed.

    `database` is the absolute path of its SQLite file, or a `postgresql://` URL; `tables` is `("*",)` for all. `every_s` is the
    time between sweeps, `full_every_s` that between those that compare everything; both matter to capture "polling" only.
    """

    name: str
    database: str = field(repr=False)  # it may hold a password
    capture: str
    tables: tuple[str, ...]
    every_s: float = DEFAULT_EVERY_S
    changed_at: str | None = None
    full_every_s: float = DEFAULT_FULL_EVERY_S
    line: int = 0


@dataclass(frozen=True, slots=True)
class ReadModelConfig:
    """A read store (`database`, as a service's), its views, and the queries that can be asked of them by name.

    `services` are those that the views' text mentions, in the order of the file.
    """

    name: str
    database: str = field(repr=False)  # it may hold a password
    views: tuple[View, ...]
    services: tuple[str, ...] = ()
    queries: tuple[NamedQuery, ...] = ()
    line: int = 0


@dataclass(frozen=True, slots=True)
class Config:
    """All that `path` and its view files define."""

    path: str
    services: tuple[ServiceConfig, ...]
    read_models: tuple[ReadModelConfig, ...]
    http: HttpConfig | None = None


def load_config(path: str | Path) -> Config:
    """The configuration in the file `path`. Raises InvalidDefinition with all faults of it and of its view files."""
    source = read_toml(Path(path))
    source.refuse_unknown((), _SECTIONS, "section")
    services = tuple(_service(source, name) for name in source.names("service"))
    read_models = tuple(_read_model(source, name, services) for name in source.names("read_model"))
    http = read_http(source, [view.name for model in read_models for view in model.views])
    for section, found, example in (("service", services, "orders"), ("read_model", read_models, "shop")):
        if not found:
            has_other = not isinstance(source.values.get(section, {}), Mapping)
            problem = f"'{section}' is not a section" if has_other else f"there is no [{section}.NAME] section"
            source.fault((section,), f"{problem}; write one, for example [{section}.{example}]")
    _refuse_shared_files(source, services, read_models)
    for model in read_models:
        if message := schema_fault(model, [service.name for service in services]):
            source.fault(("read_model", model.name), message)
    if source.faults:
        own_first = sorted(source.faults, key=lambda fault: (fault.file != source.file, fault.file, fault.line))
        raise InvalidDefinition(own_first)
    return Config(source.file, services, read_models, http)


def services_mentioned(views: Iterable[View], services: Iterable[ServiceConfig]) -> tuple[str, ...]:
    """The names of those services that the views' text mentions before a dot."""
    named = {word.lower() for view in views for word in re.findall(r"(\w+)[\"`\]]?\s*\.", view.sql)}
    return tuple(service.name for service in services if service.name in named)


def schema_fault(model: ReadModelConfig, services: Iterable[str]) -> str | None:
    """What is wrong with the names of schemas that a read store on PostgreSQL would have; None when nothing is.

    Mirrors are in a schema named after their service, views in one named after the read model.
    """
    if not is_postgres(model.database):
        return None
    if model.name in services:
        return f"read model '{model.name}' and service '{model.name}' would be one schema of the read store; rename one"
    taken = [each for each in (model.name, *model.services) if each in _OTHERS_SCHEMAS or each.startswith("pg_")]
    if taken:
        return f"'{taken[0]}' would be a schema of the read store, and PostgreSQL or Syncline has one of that name; rename it"
    return None


def default_names(path: str | Path) -> Names:
    """What `path` seems to define, for completion: no fault is raised, nothing checked."""
    try:
        source = read_toml(Path(path))
    except InvalidDefinition:
        return Names()

    def of_files(key: str) -> list[str]:
        patterns = [source.get(("read_model", name, key)) for name in source.names("read_model")]
        return sorted({Path(file).stem for pattern in patterns if pattern for file in _files(source, str(pattern))})

    return Names(source.names("service"), of_files("views"), of_files("queries"))


def _service(source: TomlSource, name: str) -> ServiceConfig:
    path = ("service", name)
    line = source.lines.line_of(path)
    if message := service_name_fault(name):
        source.fault(path, f"[service.{name}]: {message}")
    source.refuse_unknown(path, _SERVICE_KEYS, "key")
    database = _database(source, (*path, "database"), f'"sqlite:///{name}.db"')
    capture = source.text((*path, "capture"), '"triggers" (or "polling", when nothing may be installed there)') or ""
    if capture == "wal" and database is not None and not is_postgres(database):
        source.fault((*path, "capture"), "capture 'wal' is PostgreSQL's, and this is an SQLite file; use 'triggers' or 'polling'")
    elif capture in _PYTHON_CAPTURES:
        advice = "place it in an App, and give that to the command line with --app; here, use 'triggers' or 'polling'"
        source.fault((*path, "capture"), f"capture '{capture}' is that of a service whose events are classes in Python: {advice}")
    elif capture and capture not in _CAPTURES:
        meant = suggestion(capture, _CAPTURES + _PYTHON_CAPTURES)
        hint = f"did you mean '{meant}'?" if meant else "use 'triggers', 'polling' or, on PostgreSQL, 'wal'"
        source.fault((*path, "capture"), f"unknown capture '{capture}'; {hint}")
    if source.get((*path, "push")) is not None:
        source.fault((*path, "push"), "'push' is not in this version; remove the line, changes are then pulled")
    tables = _tables(source, (*path, "tables"), has_schemas=database is not None and is_postgres(database))
    every_s, changed_at, full_every_s = _sweeps(source, path, capture)
    return ServiceConfig(name, database or "", capture, tables, every_s, changed_at, full_every_s, line)


def service_name_fault(name: str) -> str | None:
    """What is wrong with `name` as the name of a service; None when nothing is."""
    if name in ("main", "temp"):
        return f"'{name}' is SQLite's own name for a database; choose another name"
    if name.endswith("_"):
        return f"'{name}' ends with '_', but a mirror is named service__table; choose another name"
    return name_fault(name)


def _sweeps(source: TomlSource, path: tuple[str, ...], capture: str) -> tuple[float, str | None, float]:
    """`every_s`, `changed_at` and `full_every_s` of a service: they say when and how a polling job reads it."""
    given = [key for key in ("every_s", "changed_at", "full_every_s") if source.get((*path, key)) is not None]
    if given and capture in _CAPTURES and capture != "polling":
        for key in given:
            source.fault((*path, key), f"'{key}' belongs to capture 'polling', not '{capture}'; remove the line")
        return DEFAULT_EVERY_S, None, DEFAULT_FULL_EVERY_S
    every_s = source.seconds((*path, "every_s"), DEFAULT_EVERY_S)
    full_every_s = source.seconds((*path, "full_every_s"), max(DEFAULT_FULL_EVERY_S, every_s))
    changed_at = source.text((*path, "changed_at"), '"updated_at"') if "changed_at" in given else None
    if "full_every_s" in given and "changed_at" not in given:
        message = "'full_every_s' needs 'changed_at': without it every sweep is full; remove the line or name the column"
        source.fault((*path, "full_every_s"), message)
    elif full_every_s < every_s:
        message = f"'full_every_s' is {full_every_s:g}, less than 'every_s' = {every_s:g}; make it at least as long"
        source.fault((*path, "full_every_s"), message)
    return every_s, changed_at, full_every_s


def _tables(source: TomlSource, path: tuple[str, ...], *, has_schemas: bool) -> tuple[str, ...]:
    value = source.get(path)
    if value == "*":
        return ("*",)
    if not isinstance(value, list) or not value or not all(isinstance(table, str) and table for table in value):
        if isinstance(source.get(path[:-1]), Mapping):
            found = "is missing" if value is None else f"is {value!r}"
            source.fault(path, f"'tables' {found}; write a list of table names, or \"*\" for all with a primary key")
        return ()
    tables = [source.filled(path, table) or "" for table in value]
    names = [(table.rpartition(".")[2] if has_schemas else table).lower() for table in tables]
    for table in sorted({table for table, name in zip(tables, names, strict=True) if names.count(name) > 1}):
        is_repeated = [each.lower() for each in tables].count(table.lower()) > 1
        advice = "remove one" if is_repeated else "views name it without its schema, so only one of that name can be followed"
        source.fault(path, f"table '{table}' is named twice; {advice}")
    if "*" in tables and len(tables) > 1:
        source.fault(path, "'*' means all tables; write tables = \"*\", or only names")
    return tuple(tables)


def _database(source: TomlSource, path: tuple[str, ...], example: str) -> str | None:
    """The absolute path of the SQLite file that the URL at `path` names, or the URL of a PostgreSQL database."""
    url = source.text(path, example)
    if url is None:
        return None
    scheme, separator, rest = url.partition("://")
    file = rest[1:]
    if separator and scheme in _POSTGRES:
        if message := postgres_url_fault(url):
            source.fault(path, message)
            return None
        return postgres_url(url)
    if separator and scheme.partition("+")[0] in _POSTGRES:
        source.fault(path, f"'{scheme}://' names a driver; write postgresql:// and the rest as it is")
    elif separator and scheme != "sqlite":
        source.fault(
            path, f"'{scheme}://' is no database that Syncline knows; write for example {example}, or postgresql://role@host/name"
        )
    elif not separator:
        source.fault(path, f"'{url}' is not a database URL; write \"sqlite:///{url}\" for a file")
    elif not rest.startswith("/"):
        better = f'"sqlite:///{rest or "orders.db"}"'
        source.fault(path, f"'{url}' has two slashes; write {better} (three: relative, four: absolute)")
    elif not file or file == ":memory:":
        source.fault(path, f"'{url}' names no file, and one in memory cannot be followed; write for example {example}")
    elif "?" in file:
        source.fault(path, f"'{url}' has options after '?', which are not understood; remove them")
    else:
        return os.path.abspath(os.path.join(source.folder, file))
    return None


def _read_model(source: TomlSource, name: str, services: tuple[ServiceConfig, ...]) -> ReadModelConfig:
    path = ("read_model", name)
    if message := name_fault(name):
        source.fault(path, f"[read_model.{name}]: {message}")
    source.refuse_unknown(path, _READ_MODEL_KEYS, "key")
    database = _database(source, (*path, "database"), '"sqlite:///read.db"')
    pattern = source.text((*path, "views"), '"views/*.sql"')
    views = _sql_files(source, (*path, "views"), pattern, "view", parse_view)
    pattern = source.text((*path, "queries"), '"queries/*.sql"') if source.get((*path, "queries")) is not None else None
    queries = _sql_files(source, (*path, "queries"), pattern, "query", parse_query)
    mentioned = services_mentioned(views, services)
    return ReadModelConfig(name, database or "", views, mentioned, queries, source.lines.line_of(path))


def _sql_files(
    source: TomlSource, path: tuple[str, ...], pattern: str | None, what: str, parse: Callable[[str, str, str], _Parsed]
) -> tuple[_Parsed, ...]:
    """What the files that match `pattern` define, each named after its file."""
    if pattern is None:
        return ()
    files = _files(source, pattern)
    if not files:
        place = os.path.abspath(os.path.join(source.folder, pattern))
        source.fault(path, f"no {what}: no file matches '{pattern}' ({place}); put a SQL file there, or change '{path[-1]}'")
    parsed: dict[str, _Parsed] = {}
    shown_of: dict[str, str] = {}
    for file in files:
        name = Path(file).stem
        shown = os.path.normpath(file)
        if name in parsed:
            message = f"a {what} named '{name}' is defined in {shown_of[name]} already; rename one"
            source.faults.append(Fault(shown, 0, message))
            continue
        try:
            parsed[name] = parse(name, Path(file).read_text("utf-8"), shown)
            shown_of[name] = shown
        except InvalidDefinition as error:
            source.faults.extend(error.faults)
        except (OSError, UnicodeDecodeError) as error:
            source.faults.append(Fault(shown, 0, f"the {what} file cannot be read: {error}; it must be UTF-8 text"))
    return tuple(parsed.values())


def _files(source: TomlSource, pattern: str) -> list[str]:
    found = glob.glob(os.path.join(source.folder, pattern), recursive=True)
    return sorted(file for file in found if os.path.isfile(file))


def _refuse_shared_files(
    source: TomlSource, services: tuple[ServiceConfig, ...], read_models: tuple[ReadModelConfig, ...]
) -> None:
    """Each database has one role: one capture log per source, one relay per read store."""
    owners: dict[str, tuple[str, str]] = {}
    for service in services:
        owner = owners.setdefault(database_identity(service.database), ("service", service.name))
        if service.database and owner[1] != service.name:
            source.fault(
                ("service", service.name, "database"),
                f"service '{service.name}' has the same database as service '{owner[1]}', and a database has one "
                f"capture log; make them one service: name the tables of both in the 'tables' of '{owner[1]}'",
            )
    for model in read_models:
        kind, name = owners.setdefault(database_identity(model.database), ("read model", model.name))
        if not model.database or (kind, name) == ("read model", model.name):
            continue
        place = ("read_model", model.name, "database")
        if kind == "service":
            source.fault(place, f"this is the database of service '{name}'; give the read store one of its own")
        else:
            source.fault(place, f"read model '{name}' has the same database; put all views into one, or use another")


def database_identity(file: str) -> str:
    """What two names of one database have in common.

    Of a file: device and number where it exists, else its resolved path. Of a PostgreSQL database: host, port and name.
    """
    if is_postgres(file):
        parts = urlsplit(file)
        return f"{(parts.hostname or 'localhost').lower()}:{parts.port or 5432}{parts.path}"
    try:
        found = os.stat(file)
        return f"{found.st_dev}:{found.st_ino}"
    except OSError:
        return os.path.realpath(file)
