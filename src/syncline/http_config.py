"""What the query service is told: where it listens, who may ask, which rows each may see, and how much. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8765
TOKENS_VARIABLE = "SYNCLINE_HTTP_TOKENS"
"""The environment variable that may hold what a file of tokens would."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one caller, and all together, may take."""

    body_bytes: int = 1_000_000
    body_s: float = 10.0
    page_rows: int = 1_000
    query_s: float = 5.0
    wait_s: float = 30.0
    streams: int = 2_000
    streams_per_caller: int = 1_000
    waiting: int = 1_000
    requests_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """The section [http]. `filters` maps a view to its columns that must equal a claim of the caller: view → column → claim.

    `hosts` are the names, besides that of the address, under which browsers may ask. `tokens` is the path of the file of bearer
    tokens; without one, only this machine is answered. `access_log` asks for a line for each answer.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    hosts: tuple[str, ...] = ()
    tokens: str | None = None
    filters: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    limits: Limits = Limits()
    access_log: bool = False
    line: int = 0
