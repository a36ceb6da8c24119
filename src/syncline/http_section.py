"""The section [http] of `syncline.toml`: where the query service listens, who may ask, and what each may see and take."""

import ipaddress
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import fields

from syncline.http_config import DEFAULT_HOST, DEFAULT_PORT, TOKENS_VARIABLE, HttpConfig, Limits
from syncline.read.sql_file import suggestion
from syncline.toml_source import TomlSource

_KEYS = ("listen", "tokens", "hosts", "filter", "limits", "access_log")
_LIMITS = tuple(field.name for field in fields(Limits))
_IN_SECONDS = ("body_s", "query_s", "wait_s", "requests_per_s")


def read_http(source: TomlSource, views: Iterable[str]) -> HttpConfig | None:
    """What the section says; None where there is none."""
    if "http" not in source.values:
        return None
    source.refuse_unknown(("http",), _KEYS, "key")
    listen = source.get(("http", "listen"))
    host, port = DEFAULT_HOST, DEFAULT_PORT
    if listen is not None:
        found = parse_address(listen) if isinstance(listen, str) else None
        if found is None:
            source.fault(("http", "listen"), f"'listen' is {listen!r}; write for example listen = \"127.0.0.1:8765\"")
        host, port = found or (host, port)
    tokens = source.text(("http", "tokens"), '"tokens.toml"') if source.get(("http", "tokens")) is not None else None
    config = HttpConfig(
        host,
        port,
        _hosts(source),
        os.path.abspath(os.path.join(source.folder, tokens)) if tokens is not None else None,
        _filters(source, list(views)),
        _limits(source),
        _access_log(source),
        source.lines.line_of(("http",)),
    )
    if message := exposure_fault(config):
        source.fault(("http", "listen"), message)
    return config


def parse_address(text: str) -> tuple[str, int] | None:
    """Host and port of `HOST:PORT`, `[IPV6]:PORT` or `:PORT` (this machine alone); None for anything else."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 0 <= int(port) <= 65_535:
        return None
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], int(port)
    return (host or DEFAULT_HOST, int(port)) if ":" not in host else None


def exposure_fault(config: HttpConfig) -> str | None:
    """Why the service must not listen where it is told to: others would reach it, and nobody would have to say who they are."""
    if config.tokens is not None or os.environ.get(TOKENS_VARIABLE) or is_loopback(config.host):
        return None
    return (
        f"'{config.host}' can be reached from other machines, and without tokens everyone there may do everything: "
        'name a file of tokens (tokens = "tokens.toml"), or listen on 127.0.0.1'
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host of this name. A name that leads elsewhere as well is none."""
    try:
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in addresses)


def _hosts(source: TomlSource) -> tuple[str, ...]:
    value = source.get(("http", "hosts"))
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        source.fault(("http", "hosts"), "'hosts' is no list of names; write hosts = [\"orders.example.com\"]")
        return ()
    return tuple(str(name).lower() for name in value)


def _access_log(source: TomlSource) -> bool:
    value = source.get(("http", "access_log"))
    if value is not None and not isinstance(value, bool):
        source.fault(("http", "access_log"), f"'access_log' is {value!r}; write access_log = true, or leave it out")
    return value is True


def _filters(source: TomlSource, views: list[str]) -> Mapping[str, Mapping[str, str]]:
    section = source.get(("http", "filter"))
    found: dict[str, Mapping[str, str]] = {}
    if section is not None and not isinstance(section, Mapping):
        source.fault(("http", "filter"), 'write a section [http.filter.VIEW], with column = "claim" below it')
        section = None
    for view, columns in (section or {}).items():
        path = ("http", "filter", view)
        if view not in views:
            near = suggestion(view, views)
            hint = f"did you mean '{near}'?" if near else f"there are: {', '.join(views) or 'none'}"
            source.fault(path, f"[http.filter.{view}]: there is no view '{view}'; {hint}")
        if not isinstance(columns, Mapping) or not columns or not all(isinstance(claim, str) for claim in columns.values()):
            source.fault(path, f'[http.filter.{view}]: write column = "claim", for example customer_id = "customer_id"')
            continue
        found[view] = dict(columns)
    return found


def _limits(source: TomlSource) -> Limits:
    section = source.get(("http", "limits"))
    if section is None:
        return Limits()
    source.refuse_unknown(("http", "limits"), _LIMITS, "limit")
    given: dict[str, float] = {}
    for name, value in section.items() if isinstance(section, Mapping) else ():
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 2**53
        if name not in _LIMITS:
            continue
        if not is_number or (name not in _IN_SECONDS and not isinstance(value, int)):
            example = "2.5" if name in _IN_SECONDS else "1000"
            source.fault(("http", "limits", name), f"'{name}' is {value!r}; write a number above 0, such as {name} = {example}")
        else:
            given[name] = value
    return Limits(**given)  # type: ignore[arg-type]
