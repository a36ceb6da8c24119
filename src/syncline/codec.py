"""Between a service's own classes and what is stored: names, JSON, shapes. The only module that knows msgspec.

A stored event carries the name of its class without its module, so that a class may move; `renamed` leads from old names to
classes of today, upcasters from old shapes of the data. Pure: no database, no clock.
"""

import contextlib
import dataclasses
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, TypeAlias

import msgspec

from syncline.errors import InvalidCommand, InvalidEvent, NotFound, UnknownEvent
from syncline.events import Recorded

_plain_json = msgspec.json.Encoder()

Upcaster: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""From an event's data in one shape to its data in the next. Pure."""


def classes_of(union: Any) -> tuple[type, ...]:
    """The classes of `A | B`, of a single class, or of a sequence of classes. Raises ValueError for what is none."""
    if isinstance(union, types.UnionType) or typing.get_origin(union) is typing.Union:
        found = typing.get_args(union)
    else:
        found = (union,) if isinstance(union, type) else tuple(union)
    for each in found:
        is_value = isinstance(each, type) and (dataclasses.is_dataclass(each) or issubclass(each, msgspec.Struct))
        if not is_value:
            raise ValueError(f"{each!r} is neither a dataclass nor a msgspec Struct; commands and events are such classes")
    names = [each.__name__ for each in found]
    for name in {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two classes are named {name!r}, and a stored name must tell which; rename one")
    return found


class EventCodec:
    """The events of one service: to what is stored, and back from everything that was ever stored."""

    def __init__(
        self,
        classes: Sequence[type],
        *,
        renamed: Mapping[str, type] | None = None,
        upcasts: Mapping[str, Sequence[Upcaster]] | None = None,
    ) -> None:
        self._upcasts = {name: tuple(steps) for name, steps in (upcasts or {}).items()}
        known = {each.__name__: each for each in classes}
        for name in self._upcasts:
            if name not in known:
                raise ValueError(f"upcasts name {name!r}, which is no event of today; there are: {', '.join(known)}")
        for name, target in (renamed or {}).items():
            if target not in classes:
                raise ValueError(f"{name!r} is renamed to {target!r}, which is no event of this service; add it to 'events'")
        self._current = {**{name: each.__name__ for name, each in (renamed or {}).items()}, **{name: name for name in known}}
        self._decoders: dict[str, Any] = {name: msgspec.json.Decoder(each) for name, each in known.items()}
        self._shapes = {
            each: (name, 1 + len(self._upcasts.get(name, ())), self._decoders[name].decode) for name, each in known.items()
        }
        self._encode = msgspec.json.Encoder().encode
        self._is_plain = not self._upcasts and not renamed
        self._decode = {name: decoder.decode for name, decoder in self._decoders.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """The stored names that are understood, those of today first."""
        return tuple(dict.fromkeys([*self._decoders, *self._current]))

    def encode(self, event: object) -> tuple[str, str, int, Any]:
        """The event's stored name, its data as JSON, its shape, and the event as it will be read back.

        Raises InvalidEvent for what could not be.
        """
        try:
            name, shape, decode = self._shapes[type(event)]
        except KeyError:
            known = ", ".join(self._decoders)
            raise InvalidEvent(type(event).__name__, "$", f"it is no event of this service, which has: {known}") from None
        try:
            data = self._encode(event)
            read_back = decode(data)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
            place, reason = _placed(error)
            raise InvalidEvent(name, place, reason) from error
        return name, data.decode(), shape, read_back

    def decode(self, name: str, shape: int, data: str, stream: str, position: int) -> Any:
        """The event as a value of today. Raises UnknownEvent that names the stream, the position and what to register."""
        if self._is_plain and shape == 1:
            decode = self._decode.get(name)
            if decode is not None:
                try:
                    return decode(data)
                except (msgspec.MsgspecError, ValueError, TypeError):
                    pass  # told below, with the place
        return self._upcast(name, shape, data, stream, position)

    def class_of(self, name: str) -> type | None:
        """The class of today of events that are stored under a name; None for a name that is not known."""
        current = self._current.get(name)
        return None if current is None else self._class(current)

    def decode_recorded(self, recorded: Recorded) -> Any:
        return self.decode(recorded.name, recorded.shape, recorded.data, recorded.stream, recorded.position)

    def _upcast(self, name: str, shape: int, data: str, stream: str, position: int) -> Any:
        current = self._current.get(name)
        if current is None:
            advice = f"no class of that name is among the service's events ({', '.join(self._decoders)})"
            raise UnknownEvent(name, stream, position, f"{advice}; add the class, or name its successor in 'renamed'")
        steps = self._upcasts.get(current, ())
        if shape > 1 + len(steps):
            known = f"it has shape {shape}, and this program knows {current} up to shape {1 + len(steps)}"
            raise UnknownEvent(name, stream, position, f"{known}; run the newer program, or register the upcasters that it has")
        try:
            if shape == 1 + len(steps):
                return self._decode[current](data)
            value = msgspec.json.decode(data)
            for step in steps[shape - 1 :]:
                value = step(value)
            return msgspec.convert(value, self._class(current), strict=True)
        except Exception as error:
            place, reason = _placed(error)
            advice = f"register an upcaster for it in 'upcasts', or mend the one from shape {shape}"
            raise UnknownEvent(name, stream, position, f"{current}: {place}: {reason}; {advice}") from error

    def _class(self, name: str) -> type:
        return next(each for each in self._shapes if each.__name__ == name)


class CommandCodec:
    """The commands of one service: from JSON, with every fault named, and to the digest that tells two payloads apart."""

    def __init__(self, classes: Sequence[type]) -> None:
        self._classes = {each.__name__: each for each in classes}
        self._encode = msgspec.json.Encoder(order="deterministic").encode
        self._decoders: dict[type, Any] = {each: msgspec.json.Decoder(each).decode for each in classes}

    @property
    def classes(self) -> Mapping[str, type]:
        return self._classes

    def digest(self, command: object) -> int:
        """A 64-bit number that two commands of one class share if their payload is the same. Raises InvalidCommand."""
        kind = type(command)
        try:
            payload = self._encode(command)
            self._decoders[kind](payload)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidCommand(kind.__name__, self._faults(command, error)) from error
        return int.from_bytes(blake2b(payload, digest_size=8).digest(), "big", signed=True)

    def text(self, command: object) -> str:
        """The command as JSON that `parse` reads. Raises InvalidCommand for one that could not be read back."""
        self.digest(command)
        return self._encode(command).decode()

    def parse(self, name: str, payload: str | bytes) -> Any:
        """The command that JSON spells. Raises NotFound for an unknown name, InvalidCommand with every fault of the payload."""
        kind = self._classes.get(name)
        if kind is None:
            raise NotFound(f"there is no command '{name}'; there are: {', '.join(self._classes)}")
        if not payload.strip():
            raise InvalidCommand(name, [("$", "it is empty; expected a JSON object")])
        try:
            value = msgspec.json.decode(payload)
            faults = list(find_faults(value, kind))
        except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
            raise InvalidCommand(name, [("$", f"it is not JSON: {error}")]) from error
        if faults:
            raise InvalidCommand(name, faults)
        return msgspec.convert(value, kind)

    def decode(self, name: str, payload: str | bytes) -> Any:
        """As `parse`, for what `text` made: fields that the class has no more are left out."""
        kind = self._classes.get(name)
        if kind is not None:
            with contextlib.suppress(msgspec.MsgspecError, ValueError, TypeError):
                return self._decoders[kind](payload)
        return self.parse(name, payload)

    def schemas(self, where: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The JSON Schema of each command, by name, and those that they refer to, which are to be found at `where`/NAME."""
        kinds = list(self._classes.values())
        found, shared = msgspec.json.schema_components(kinds, schema_hook=_hooked, ref_template=where + "/{name}")
        return dict(zip(self._classes, found, strict=True)), shared

    def _faults(self, command: object, error: Exception) -> list[tuple[str, str]]:
        try:
            value = msgspec.to_builtins(command)
        except (TypeError, ValueError, OverflowError, RecursionError):
            return [_placed(error)]
        return list(find_faults(value, type(command))) or [_placed(error)]


class StateCodec:
    """States as JSON, for snapshots. `fingerprint` changes with the state's shape, the code of `evolve` and `state_version`."""

    def __init__(self, initial: object, evolve: Callable[..., Any], state_version: int) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(type(initial)).decode
        shape = msgspec.json.encode(msgspec.json.schema(type(initial)))
        self.fingerprint = blake2b(
            repr((state_version, shape, _code(getattr(evolve, "__code__", None)))).encode(), digest_size=8
        ).hexdigest()
        self.encode(initial)

    def encode(self, state: object) -> str:
        """Raises ValueError for a state that would not come back as it is."""
        try:
            data = self._encode(state)
            is_same = self._decode(data) == state
        except (msgspec.MsgspecError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"a state of type {type(state).__name__} cannot be stored as JSON: {error}") from error
        if not is_same:
            raise ValueError(f"a state of type {type(state).__name__} is not the same when read back from JSON: {state!r}")
        return data.decode()

    def decode(self, data: str) -> Any | None:
        """The state, or None where what is stored is none: a snapshot is only a cache."""
        try:
            return self._decode(data)
        except (msgspec.MsgspecError, ValueError, TypeError):
            return None


def metadata_text(metadata: Mapping[str, Any]) -> str:
    """Metadata as JSON text. Raises InvalidCommand for what is none."""
    try:
        data = msgspec.json.encode(dict(metadata))
        if not all(isinstance(key, str) for key in metadata):
            raise TypeError("its keys must be texts")
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidCommand("the command's metadata", [_placed(error)]) from error
    return data.decode()


def as_plain(value: object) -> Any:
    """A command, event or state as what JSON can hold: dicts, lists, texts, numbers."""
    return msgspec.to_builtins(value)


def _code(code: Any) -> Any:
    """What of a function decides what it does: its instructions, names and constants, wherever it stands in its file."""
    if not isinstance(code, types.CodeType):
        return code
    constants = tuple(_constant(each) for each in code.co_consts)
    return code.co_code, code.co_names, code.co_varnames, constants


def _constant(value: Any) -> Any:
    """A constant so that its repr is the same in every process: a set's order is not."""
    return ("set", sorted(map(repr, value))) if isinstance(value, frozenset) else _code(value)


def find_faults(value: Any, kind: Any, place: str = "$") -> Iterable[tuple[str, str]]:
    """Everything about a JSON value that is not as the type says, each with its place; msgspec itself stops at the first."""
    try:
        msgspec.convert(value, kind)
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        inner = list(_inner_faults(value, kind, place))
        where, reason = _placed(error)
        yield from inner or [(place + where.removeprefix("$"), reason)]
    else:
        yield from _inner_faults(value, kind, place)  # fields that nobody knows are no fault to msgspec


def _inner_faults(value: Any, kind: Any, place: str) -> Iterable[tuple[str, str]]:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        yield from _inner_faults(value, arguments[0], place)
    elif _is_record(kind) and isinstance(value, dict):
        fields = _fields(kind)
        for name, (hint, is_required) in fields.items():
            if name in value:
                yield from find_faults(value[name], hint, f"{place}.{name}")
            elif is_required:
                yield f"{place}.{name}", f"it is missing; expected {_shown(hint)}"
        yield from ((f"{place}.{name}", _unknown(name, kind)) for name in value if name not in fields)
    elif origin in (list, tuple, set, frozenset) and isinstance(value, list) and (len(arguments) == 1 or arguments[-1] is ...):
        for index, item in enumerate(value):
            yield from find_faults(item, arguments[0], f"{place}[{index}]")
    elif origin is dict and isinstance(value, dict):
        for key, item in value.items():
            yield from find_faults(item, arguments[1], f"{place}[{key!r}]")
    elif origin in (typing.Union, types.UnionType):
        kinds = [each for each in arguments if each is not type(None)]
        if len(kinds) == 1 and value is not None:
            yield from _inner_faults(value, kinds[0], place)


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and (dataclasses.is_dataclass(kind) or issubclass(kind, msgspec.Struct))


def fields_of(kind: type) -> tuple[str, ...]:
    """The names of the fields of a dataclass or Struct."""
    return tuple(typing.get_type_hints(kind))


def _fields(kind: type) -> dict[str, tuple[Any, bool]]:
    """Each field as JSON names it: its type, and whether it must be there."""
    hints = typing.get_type_hints(kind, include_extras=True)
    if issubclass(kind, msgspec.Struct):
        return {field.encode_name: (hints[field.name], field.required) for field in msgspec.structs.fields(kind)}
    missing = dataclasses.MISSING
    return {
        field.name: (hints[field.name], field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]
    }


def _unknown(name: str, kind: type) -> str:
    return f"{kind.__name__} has no field '{name}'; it has: {', '.join(_fields(kind))}"


def _shown(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _placed(error: BaseException) -> tuple[str, str]:
    """Where msgspec found a fault, and what it is."""
    text = str(error) or type(error).__name__
    reason, separator, place = text.rpartition(" - at `")
    return (place.rstrip("`"), reason) if separator else ("$", text)


def _hooked(kind: type) -> dict[str, Any]:
    """The schema of a class that has none: any value."""
    return {"description": kind.__name__}


def to_json(value: object) -> bytes:
    """Plain values as compact JSON."""
    return _plain_json.encode(value)


def from_json(data: bytes | str) -> Any:
    """Plain values from JSON. Raises ValueError for what is none."""
    return msgspec.json.decode(data)


def raw_json(text: str) -> object:
    """JSON that is a value already, to be put into other JSON as it is."""
    return msgspec.Raw(text.encode())
