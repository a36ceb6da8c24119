"""Who asks: a name, what they may do, and what is known of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

READ, WRITE, OPERATE = "read", "write", "operate"
ROLES = (READ, WRITE, OPERATE)


@dataclass(frozen=True, slots=True)
class Caller:
    """`roles` are of "read", "write", "operate", none of which contains another; row filters compare columns with `claims`."""

    name: str
    roles: frozenset[str]
    claims: Mapping[str, object] = field(default_factory=dict)


Authenticate = Callable[[str], Caller | None]
"""From a bearer token to who that is; None for a token that is not, or no longer, valid. Called in a thread, so it may block."""
