"""What handlers of table services say to their transaction, in any database: parameters, and what is not theirs to say."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from syncline.codec import fields_of
from syncline.errors import Fault, InvalidDefinition
from syncline.stores.service_tables import TableSetup


def values_of(parameters: Any, stored: Callable[[Any], Any]) -> tuple[Any, ...] | dict[str, Any]:
    """Parameters as a driver takes them: by place or by name, each as it is stored.

    Raises InvalidDefinition for what is neither a mapping, a sequence, a dataclass nor a Struct.
    """
    if parameters is None:
        return ()
    if isinstance(parameters, Mapping):
        return {name: stored(value) for name, value in parameters.items()}
    if isinstance(parameters, Sequence) and not isinstance(parameters, str | bytes):
        return tuple(map(stored, parameters))
    kind: Any = type(parameters)
    names = _fields(kind)
    if not names:
        message = f"parameters are {parameters!r}; expected a mapping, a sequence, a dataclass or a Struct, or none at all"
        raise InvalidDefinition([Fault("", 0, message)])
    return {name: stored(getattr(parameters, name)) for name in names}


def not_for_a_handler(what: str) -> InvalidDefinition:
    """What is said of a statement that begins or ends a transaction."""
    message = (
        f"{what} is not for a handler or a schema: the transaction is committed once for a whole group of commands, and "
        "undone for this one alone when its handler raises; leave the statement out, and raise Rejected to undo"
    )
    return InvalidDefinition([Fault("", 0, message)])


def wrong_schema(setup: TableSetup, message: str) -> InvalidDefinition:
    """A fault of a service's schema, or of what it publishes."""
    return InvalidDefinition([Fault("", 0, f"service '{setup.service}': {message}")])


def lacks_table(setup: TableSetup, database: str, name: str, made: set[str]) -> InvalidDefinition:
    """What is said of a published table that is not there; `made` are those that the schema makes."""
    if not setup.schema.strip():
        advice = "make it, or give the service a schema"
    elif any(each.lower() not in made for each in setup.publishes):
        advice = f"its schema makes: {', '.join(sorted(made)) or 'none'}"
    else:
        advice = "the database has other tables of the schema, so that the schema was not run; bring it up to date by hand"
    return wrong_schema(setup, f"database '{database}' has no table '{name}', which is published; {advice}")


def shown_sql(sql: str) -> str:
    """A statement on one line, cut where it is long."""
    text = " ".join(sql.split())
    return text if len(text) <= 120 else text[:117] + "..."


@lru_cache(maxsize=1024)
def _fields(kind: type) -> tuple[str, ...]:
    is_record = hasattr(kind, "__dataclass_fields__") or hasattr(kind, "__struct_fields__")
    return fields_of(kind) if is_record else ()
