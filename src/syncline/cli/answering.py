"""The query service beside the relays of `syncline run`."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
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
    from syncline.serve.server import Server

    logging.basicConfig(format="%(asctime)s  %(message)s", datefmt="%Y-%m-%d %H:%M:%S", level=logging.WARNING)
    if config.access_log:
        _print_accesses()
    with Server(asgi(app, config), config.host, config.port) as server:
        yield server.url


def _print_accesses() -> None:
    """The access log's lines go to stderr as they are, whatever other logs look like."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("syncline.access")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
