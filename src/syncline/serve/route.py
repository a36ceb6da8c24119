"""What a module of this package offers to be asked: a method, a path, the role it takes, and the function that answers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response

from syncline.serve.caller import Caller

if TYPE_CHECKING:
    from syncline.serve.serving import Serving


class _Rest(Convertor[str]):
    """The rest of a path, whatever characters it holds, at least one."""

    regex = r"[\s\S]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("rest", _Rest())


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of a caller who may make it."""

    request: Request
    caller: Caller
    serving: "Serving"


Answer = Callable[[Asked], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """`{name:rest}` in `path` is the rest of it.

    `role` "" is for every known caller, None for everyone. What `answer` raises becomes a problem (problems.py).
    """

    method: str
    path: str
    role: str | None
    answer: Answer
