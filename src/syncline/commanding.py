"""Sending commands: from a command's class to the service that handles it, and to the thread that commits its group."""

import itertools
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from syncline.codec import metadata_text
from syncline.composing import Writing
from syncline.errors import InvalidCommand, NotFound, SynclineError, Unavailable
from syncline.messages import Receipt
from syncline.write.commit import GroupCommit, Handler, Request


@dataclass(frozen=True, slots=True)
class CommandType:
    """A command that can be sent: its name, the service that handles it, and the JSON Schema of its payload."""

    name: str
    service: str
    schema: Mapping[str, Any]


class Commands:
    """The services that handle commands, each opened when the first is sent to it. Any thread may use it."""

    def __init__(
        self, writing: Mapping[str, Writing], open_handler: Callable[[Writing], Handler], on_commit: Callable[[], None]
    ) -> None:
        self._writing, self._open_handler, self._on_commit = writing, open_handler, on_commit
        self._codecs = {name: each.definition.command_codec for name, each in writing.items()}
        self._service_of = {kind: name for name, codec in self._codecs.items() for kind in codec.classes.values()}
        self._digests = {kind: self._codecs[name].digest for kind, name in self._service_of.items()}
        self._commits: dict[str, GroupCommit] = {}
        self._lock = threading.Lock()
        self._new_id = rising_ids()
        self._forks = _forks.count

    def submit(
        self,
        command: object,
        command_id: str | None = None,
        expected_version: int | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> "Future[Receipt]":
        """Sends a command; its future holds the receipt or the exception that says why there is none."""
        kind = type(command)
        service = self._service_of.get(kind)
        if service is None:
            raise NotFound(f"no service handles {kind.__name__}; commands are: {', '.join(self.names)}")
        if _forks.count != self._forks:
            raise Unavailable("this App was made before a fork, and its threads stayed behind; make it in the child")
        request = Request(command, "", command_id is None)
        try:
            request.command_id = self._new_id() if command_id is None else _id("command_id", command_id)
            request.digest = self._digests[kind](command)
            if metadata is not None or correlation_id is not None or causation_id is not None:
                request.metadata = _metadata_text(metadata or {}, correlation_id, causation_id)
        except Exception as error:
            request.future.set_exception(error)
            return request.future
        request.expected_version = expected_version
        return (self._commits.get(service) or self._open(service)).submit(request)

    def refuse_waiting(self) -> None:
        """Raises SynclineError in a thread that handles commands: it would wait for itself, or for one that waits for it."""
        if any(commit.is_current_thread for commit in self._commits.values()):
            raise SynclineError(
                "`send` waits, and must not be called where commands are handled (decide, a handler, a future's callback); "
                "use `submit` there, or let another thread send"
            )

    def parse(self, name: str, payload: str | bytes) -> Any:
        """The command that JSON spells. Raises NotFound for an unknown name, InvalidCommand with every fault of the payload."""
        for codec in self._codecs.values():
            if name in codec.classes:
                return codec.parse(name, payload)
        near = [each for each in self.names if each.lower() == name.lower()]
        hint = f"did you mean '{near[0]}'?" if near else f"commands are: {', '.join(self.names) or 'none'}"
        raise NotFound(f"there is no command '{name}'; {hint}")

    def types(self, where: str) -> tuple[list[CommandType], dict[str, Any]]:
        """What can be sent, and the schemas that those of the commands refer to, to be found at `where`/NAME."""
        found: list[CommandType] = []
        shared: dict[str, Any] = {}
        for service, codec in self._codecs.items():
            schemas, its = codec.schemas(where)
            found += [CommandType(name, service, schema) for name, schema in schemas.items()]
            shared |= its
        return found, shared

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all commands."""
        return tuple(name for codec in self._codecs.values() for name in codec.classes)

    def close(self) -> None:
        """Returns when everything sent before is answered."""
        with self._lock:
            commits = list(self._commits.values())
        for commit in commits:
            commit.close()

    def _open(self, service: str) -> GroupCommit:
        with self._lock:
            if service not in self._commits:
                writing = self._writing[service]
                self._commits[service] = GroupCommit(service, lambda: self._open_handler(writing), self._on_commit)
            return self._commits[service]


@dataclass(slots=True)
class _Forks:
    """How many forks lie between the first process and this one. To ask for the process's id would be a system call a command."""

    count: int = 0

    def note(self) -> None:
        self.count += 1


_forks = _Forks()
if hasattr(os, "register_at_fork"):  # where there are forks
    os.register_at_fork(after_in_child=_forks.note)


def rising_ids() -> Callable[[], str]:
    """Makes ids that rise, so that their index grows at its end. Any thread may call it.

    They are UUIDs of version 7 (RFC 9562 §5.7) that count in their random part.
    """
    node, numbers, clock = f"{int.from_bytes(os.urandom(6), 'big'):012x}", itertools.count(), time.time_ns
    newest = (0, "")  # a moment, and how it is spelt: it is that of many ids

    def new_id() -> str:
        nonlocal newest
        number, millis = next(numbers), clock() // 1_000_000
        when, spelt = newest
        if when != millis:
            stamp = f"{millis:012x}"
            spelt = f"{stamp[:8]}-{stamp[8:]}"
            newest = millis, spelt
        return f"{spelt}-7{number >> 14 & 0xFFF:03x}-{0x8000 | number & 0x3FFF:04x}-{node}"

    return new_id


def _metadata_text(metadata: Mapping[str, Any], correlation_id: str | None, causation_id: str | None) -> str:
    ids = {"correlation_id": correlation_id, "causation_id": causation_id}
    for name in ("command_id", *ids):
        if name in metadata:
            raise InvalidCommand("the command's metadata", [(f"$.{name}", f"it has an argument of its own: {name}=…")])
    return metadata_text({**metadata, **{name: _id(name, value) for name, value in ids.items() if value is not None}})


def _id(what: str, value: object) -> str:
    """An id as it is stored. Raises InvalidCommand for what is neither a text nor a UUID."""
    if isinstance(value, str) and value and value.isascii():
        return value
    if isinstance(value, UUID):
        return str(value)
    if not isinstance(value, str):
        raise InvalidCommand(f"the command's {what}", [("$", f"it is {value!r}, expected a text or a UUID")])
    if not value:
        raise InvalidCommand(f"the command's {what}", [("$", "it is empty; leave it out, or give each command one of its own")])
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidCommand(f"the command's {what}", [("$", f"it is no Unicode text: {error}")]) from error
    return value
