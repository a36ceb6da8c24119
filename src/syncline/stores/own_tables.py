"""How code that is the same for every store reaches the program's own tables: named statements, run by the store's driver."""

from collections.abc import Iterator
from typing import Any, Protocol


class Found(Protocol):
    """What a statement gave, as every driver's cursor gives it."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Run(Protocol):
    """Runs a statement by its name."""

    def __call__(self, statement: str, /, **values: object) -> Found: ...
