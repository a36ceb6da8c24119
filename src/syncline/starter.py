"""`syncline init`: looks at databases that exist and writes a configuration and a first view to begin with.

Reads the databases only, unless told to put them into WAL mode. Writes nothing before everything has been looked at,
and no file that exists unless told to.
"""

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from syncline.errors import Fault, InvalidDefinition, StoreError
from syncline.first_view import as_name, first_view
from syncline.http_config import DEFAULT_HOST, DEFAULT_PORT
from syncline.places import is_postgres, postgres_url, postgres_url_fault, without_password
from syncline.stores.roles import Found, source_role
from syncline.stores.sqlite.source import open_source

HERE = f"{DEFAULT_HOST}:{DEFAULT_PORT}"

_SUFFIXES = (".db", ".sqlite", ".sqlite3")


@dataclass(frozen=True, slots=True)
class StarterService:
    """What was found in one database: relations that can be followed, and tables that cannot, with the reason."""

    name: str
    file: str = field(repr=False)
    found: tuple[Found, ...]
    left_out: tuple[tuple[str, str], ...]
    journal_mode: str


@dataclass(frozen=True, slots=True)
class Started:
    """What was written, and the lines that tell a person about it and what to do next."""

    written: tuple[str, ...]
    services: dict[str, list[str]]
    left_out: dict[str, str]
    joined: tuple[str, ...]
    report: tuple[str, ...] = field(default=())


def start_here(databases: Sequence[str], folder: Path, *, replace: bool = False, use_wal: bool = False) -> Started:
    """Writes `syncline.toml` and `views/NAME.sql` into `folder` for `databases`, files or URLs, or for files found in it.

    Raises InvalidDefinition when there is nothing to follow or a file is in the way; then nothing was written.
    """
    config_file = folder / "syncline.toml"
    skipped: list[str] = []
    files = [postgres_url(each) if _is_url(each) else each for each in databases] or _databases_of(folder)
    services = _look_at(files, skipped, is_asked_for=bool(databases))
    followed = [service for service in services if service.found]
    if not followed:
        raise InvalidDefinition([Fault(str(folder), 0, _nothing_found(files, services, skipped))])
    read_store = _read_store(folder, files)
    all_found = [found for service in followed for found in service.found]
    view = first_view(all_found, [service.name for service in followed])
    view_file = folder / "views" / f"{view.name}.sql"
    in_the_way = [str(file) for file in (config_file, view_file) if file.exists()]
    if in_the_way and not replace:
        message = "the file exists and is left as it is; `syncline init --force` replaces it, --dir writes elsewhere"
        raise InvalidDefinition([Fault(file, 0, message) for file in in_the_way])
    wal = [_with_wal(service) for service in followed] if use_wal else []
    _write(config_file, _configuration(followed, folder, read_store))
    _write(view_file, view.text)
    report = [
        *(f"skipped {each}" for each in skipped),
        *(_described(service) for service in followed),
        *(f"not followed: {s.name}.{table}: {reason}" for s in services for table, reason in s.left_out),
        *wal,
        *(f"hint: {hint}" for hint in _wal_hints([] if use_wal else followed)),
        f"wrote {config_file}",
        f"wrote {view_file}" + (f" (joins {', '.join(view.joined)})" if view.joined else ""),
        "",
        *_next_steps(config_file, view.name),
    ]
    return Started(
        written=(str(config_file), str(view_file)),
        services={service.name: [found.relation.name for found in service.found] for service in followed},
        left_out={f"{service.name}.{table}": reason for service in services for table, reason in service.left_out},
        joined=view.joined,
        report=tuple(report),
    )


def _databases_of(folder: Path) -> list[str]:
    """Database files of the folder; not one that looks like the read store of an earlier time."""
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES and file.is_file())
    except OSError as error:
        raise InvalidDefinition([Fault(str(folder), 0, f"the folder cannot be read: {error}")]) from error
    return [str(file) for file in files if file.name != "read.db"]


def _look_at(files: Sequence[str], skipped: list[str], *, is_asked_for: bool) -> list[StarterService]:
    """Each database as a service. One that cannot be read is a fault if it was named, else skipped with the reason."""
    services: list[StarterService] = []
    faults: list[Fault] = []
    names: set[str] = set()
    for file in files:
        base = as_name(Path(urlsplit(file).path if is_postgres(file) else file).stem)
        name, count = base, 1
        while name in names:
            count += 1
            name = f"{base}_{count}"
        names.add(name)
        try:
            services.append(_service(name, file))
        except StoreError as error:
            faults.append(Fault(without_password(file), 0, str(error)))
    if is_asked_for and faults:
        raise InvalidDefinition(faults)
    skipped += [str(fault) for fault in faults]
    return services


def _is_url(database: str) -> bool:
    if "://" not in database:
        return False
    if message := postgres_url_fault(database):
        raise InvalidDefinition([Fault("", 0, message)])
    return True


def _service(name: str, file: str) -> StarterService:
    survey = source_role(file).survey(file, name)
    database = file if is_postgres(file) else os.path.abspath(file)
    return StarterService(name, database, survey.found, survey.left_out, survey.journal_mode)


def _nothing_found(files: Sequence[str], services: Sequence[StarterService], skipped: Sequence[str]) -> str:
    if not files:
        return f"no database here ({', '.join('*' + suffix for suffix in _SUFFIXES)}); name them: `syncline init DB…`"
    reasons = [f"{service.name}.{table}: {reason}" for service in services for table, reason in service.left_out]
    why = "; ".join([*skipped, *reasons]) or "they hold no table"
    return f"no table that can be followed in {', '.join(map(without_password, files))}: {why}"


def _read_store(folder: Path, files: Sequence[str]) -> str:
    """A name for the read store that is none of the services' files."""
    taken = {os.path.realpath(file) for file in files}
    names = ("read.db", "read_model.db", "syncline_read.db")
    return next(name for name in names if os.path.realpath(folder / name) not in taken)


def _configuration(services: Sequence[StarterService], folder: Path, read_store: str) -> str:
    parts = ["# Which databases are followed, and where the read model is kept. Written by `syncline init`."]
    for service in services:
        names = [found.relation.table for found in service.found]
        parts += [
            "",
            f"[service.{service.name}]",
            f"database = {_toml(_url(service.file, folder))}",
            'capture = "triggers"                # or "polling", when nothing may be installed in that database',
            f"tables = [{', '.join(map(_toml, names))}]",
            *(f"# not followed: {table}: {' '.join(reason.split())}" for table, reason in service.left_out),
        ]
    parts += ["", "[read_model.main]", f'database = "sqlite:///{read_store}"', 'views = "views/*.sql"']
    parts += ["", "[http]", f'listen = "{HERE}"            # dashboard and queries, for this machine alone', ""]
    return "\n".join(parts)


def _url(file: str, folder: Path) -> str:
    """Relative where the file is in or below the folder, so that both can be moved together. A URL as it is, but its password."""
    if is_postgres(file):
        role, separator, rest = file.removeprefix("postgresql://").partition("@")
        has_password = separator and ":" in role
        return f"postgresql://{role.partition(':')[0]}:${{PGPASSWORD}}@{rest}" if has_password else file
    home = os.path.abspath(folder)
    inside = os.path.commonpath([home, file]) == home
    return f"sqlite:///{Path(os.path.relpath(file, home)).as_posix() if inside else file}"


def _toml(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in escaped) + '"'


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    except OSError as error:
        raise InvalidDefinition([Fault(str(file), 0, f"the file cannot be written: {error}")]) from error


def _described(service: StarterService) -> str:
    relations = [f"{found.relation.table} ({', '.join(found.relation.key)})" for found in service.found]
    return f"service {service.name}: {', '.join(relations)}"


def _with_wal(service: StarterService) -> str:
    """Changes the journal mode of the database file: kept in the file, and understood by every SQLite since 2010."""
    if is_postgres(service.file):
        return f"{without_password(service.file)} is PostgreSQL, where readers and writers never wait for each other"
    if service.journal_mode == "wal":
        return f"{service.file} is in WAL mode already"
    with closing(open_source(service.file, read_only=False)) as connection:
        mode = str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
    if mode != "wal":
        return f"{service.file} could not be put into WAL mode, it stays in mode {mode}: close what uses it, then again"
    return f"{service.file} is in WAL mode now, before: {service.journal_mode}"


def _wal_hints(services: Sequence[StarterService]) -> list[str]:
    files = [service.file for service in services if service.journal_mode not in ("wal", "memory", "")]
    if not files:
        return []
    named = ", ".join(Path(file).name for file in files)
    return [
        f"{named}: with a rollback journal, readers and writers wait for each other for some milliseconds; "
        "`PRAGMA journal_mode=WAL`, run once in each, avoids that (`syncline init --wal` does it)"
    ]


def _next_steps(config_file: Path, view: str) -> list[str]:
    at = "" if str(config_file) == "syncline.toml" else f" --config {config_file}"
    return [
        "next:",
        f"  syncline check{at}           what each view costs",
        f"  syncline sync --once{at}     catch up, or `syncline run{at}` to follow",
        f"  syncline read{at} {view}",
        f"  http://{HERE}/   the same while `syncline run` runs, with the dashboard",
    ]
