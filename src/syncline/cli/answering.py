"""What answers over HTTP while a command runs: the query service beside the relays of `syncline run`, and the demo's pages."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from syncline.errors import Unavailable

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from syncline.app import App
    from syncline.http_config import HttpConfig


def http_config(configured: "HttpConfig | None", listen: str | None) -> "HttpConfig | None":
    """What the service is told: the section [http], at the address of --listen where that is given; None for no service."""
    from syncline.http_config import HttpConfig
    from syncline.http_section import exposure_fault, parse_address

    if listen is None:
        return configured
    address = parse_address(listen)
    if address is None:
        raise click.BadParameter(f"{listen!r} is no address; write for example 127.0.0.1:8765", param_hint="--listen")
    config = replace(configured or HttpConfig(), host=address[0], port=address[1])
    if message := exposure_fault(config):
        raise click.BadParameter(message, param_hint="--listen")
    return config


@contextmanager
def answering(app: "App", config: "HttpConfig | None") -> Iterator[str | None]:
    """Answers over HTTP while the block runs; gives the address, or None where there is no service.

    Raises Unavailable where the address cannot be listened on.
    """
    if config is None:
        yield None
        return
    from syncline.serve import asgi

    if config.access_log:
        _print_accesses()
    with _served(asgi(app, config), config.host, config.port) as url:
        yield url


@contextmanager
def listening(application: "ASGIApp", port: int | None) -> Iterator[str]:
    """Answers with an application on this machine while the block runs; without a port at the default one, or any that is free.

    Raises Unavailable where the port cannot be listened on.
    """
    from syncline.http_config import DEFAULT_HOST, DEFAULT_PORT

    with ExitStack() as open_:
        try:
            url = open_.enter_context(_served(application, DEFAULT_HOST, DEFAULT_PORT if port is None else port))
        except Unavailable:
            if port is not None:
                raise
            url = open_.enter_context(_served(application, DEFAULT_HOST, 0))
        yield url


@contextmanager
def _served(application: "ASGIApp", host: str, port: int) -> Iterator[str]:
    from syncline.serve.server import Server

    logging.basicConfig(format="%(asctime)s  %(message)s", datefmt="%Y-%m-%d %H:%M:%S", level=logging.WARNING)
    with Server(application, host, port) as server:
        yield server.url


def _print_accesses() -> None:
    """The access log's lines go to stderr as they are, whatever other logs look like."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("syncline.access")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
