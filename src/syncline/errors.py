"""Every exception of the package, by whose fault it is.

    SynclineError
    ├── Rejected               the domain said no; final, never retried
    ├── Conflict               someone else was first, again and again or against an expected version
    ├── InvalidCommand         a command's payload is not of its shape (names every fault)
    ├── InvalidQueryValues     what a named query was asked with does not fit its parameters (names every fault)
    ├── CommandReused          an id that another command was sent with
    ├── InvalidEvent           an event that was decided cannot be stored and read back
    ├── InvalidDefinition      the configuration, a service or a view is wrong, at start
    │   ├── UnknownEvent       a stored event that no class or upcaster is registered for
    │   └── UnsupportedQuery   this SQL cannot be kept exact (names clause, line and a rewrite)
    ├── InvalidToken           a token that was never printed by Syncline
    ├── DeadToken              a token of an incarnation of the source that is gone
    ├── NotFound               no such view, service or row
    │   ├── UnknownColumn      no such column of a view
    │   └── ImpossibleValue    a value that no row of a view can have in that column
    ├── NotReady               a view that is still being built
    ├── StaleRead              a token was not reached in time
    ├── TookTooLong            a read was ended at its time limit
    └── StoreError             a database; the driver's error is in __cause__
        ├── Unavailable        worth retrying: locked, missing for now, disk full
        ├── SourceChanged      the source's schema is no longer what the relation needs
        └── Fenced             another relay took over this read store

A message says what was found, what was expected and what to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class SynclineError(Exception):
    """The root of everything that this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a definition, and where: printed as `file:line: message`."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return place + self.message


class InvalidDefinition(SynclineError):
    """Some definitions are wrong. `faults` holds all of them, so that they can be mended at once."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class UnsupportedQuery(InvalidDefinition):
    """A view's SQL cannot be kept exact. Says which clause, on which line, and how to rewrite it."""

    def __init__(self, clause: str, reason: str, rewrite: str, *, line: int = 0, file: str = "") -> None:
        self.clause, self.reason, self.rewrite, self.line = clause, reason, rewrite, line
        super().__init__([Fault(file, line, f"{clause}: {reason}. {rewrite}")])


class Rejected(SynclineError):
    """The domain said no: raised by a `decide` or a table service's handler with the reason. Nothing was stored."""


class Conflict(SynclineError):
    """Others wrote first. Nothing was stored; `found` is the version of `stream` now, `expected` the one decided upon."""

    def __init__(self, stream: str, expected: int | None, found: int, advice: str) -> None:
        self.stream, self.expected, self.found = stream, expected, found
        what = f"is at version {found}, not {expected}" if expected is not None else f"(version {found}) was written by others"
        super().__init__(f"stream '{stream}' {what}; {advice}")


class InvalidCommand(SynclineError):
    """A command that cannot be understood. `faults` holds each fault as a pair: where in the payload, and what is wrong there."""

    def __init__(self, command: str, faults: Sequence[tuple[str, str]]) -> None:
        self.command, self.faults = command, tuple(faults)
        lines = [f"{place}: {message}" for place, message in self.faults]
        super().__init__(f"{command} is not valid:\n" + "\n".join(lines))


class InvalidQueryValues(SynclineError):
    """A named query cannot be asked with these values. `faults` holds each fault as a pair: which parameter, what is wrong."""

    def __init__(self, query: str, faults: Sequence[tuple[str, str]]) -> None:
        self.query, self.faults = query, tuple(faults)
        lines = [f"{parameter}: {message}" for parameter, message in self.faults]
        super().__init__(f"query '{query}' cannot be asked with these values:\n" + "\n".join(lines))


class CommandReused(SynclineError):
    """A command id under which another command, or the same with another payload, was handled before. Nothing was stored."""

    def __init__(self, command_id: str, sent: str, before: str) -> None:
        self.command_id, self.sent, self.before = command_id, sent, before
        other = f"{before} with another payload" if sent == before else f"a {before}"
        super().__init__(
            f"command id '{command_id}' was used before for {other}, and is sent now with a {sent}; "
            "give each command an id of its own, and repeat one only as it was"
        )


class InvalidEvent(SynclineError):
    """An event that cannot be stored so that it can be read back. `place` is where in it; nothing was stored."""

    def __init__(self, event: str, place: str, reason: str) -> None:
        self.event, self.place, self.reason = event, place, reason
        super().__init__(
            f"{event} cannot be stored: {place}: {reason}; make the value fit the field's type, or the type the value"
        )


class UnknownEvent(InvalidDefinition):
    """A stored event that this program cannot read: no class of its name, or a shape or data that no upcaster leads from."""

    def __init__(self, name: str, stream: str, position: int, reason: str) -> None:
        self.name, self.stream, self.position = name, stream, position
        super().__init__([Fault("", 0, f"event '{name}' of stream '{stream}' at position {position} cannot be read: {reason}")])


class InvalidToken(SynclineError):
    """A token that cannot be understood; never taken as reached."""

    def __init__(self, text: str, reason: str) -> None:
        self.text, self.reason = text, reason
        shown = text if len(text) <= 40 else text[:37] + "..."
        super().__init__(
            f"'{shown}' is not a consistency token: {reason}. Copy the whole line that `syncline token SERVICE` printed."
        )


class DeadToken(SynclineError):
    """A token of an incarnation of its source that no longer exists (restored, replaced, capture removed)."""

    def __init__(self, service: str, found: str, current: str) -> None:
        self.service, self.found, self.current = service, found, current
        super().__init__(
            f"the token names incarnation {found} of service '{service}', which is now at incarnation {current}: "
            f"its database was restored, replaced or captured anew since. Ask for a new one: `syncline token {service}`."
        )


class NotFound(SynclineError):
    """No such view, service, column or row."""


class UnknownColumn(NotFound):
    """A view has no column of this name; the message says which it has, or which was probably meant."""


class ImpossibleValue(NotFound):
    """A column cannot hold this value, so no row has it."""


class NotReady(SynclineError):
    """A view whose first build has not finished, or whose service cannot be followed."""


class StaleRead(SynclineError):
    """A token was not reached in time, or rows stayed older than asked. `reached` and `wanted` are positions of `service`."""

    def __init__(
        self,
        service: str,
        reached: int | None,
        wanted: int,
        timeout_s: float,
        waiting_for: str,
        staleness_s: float | None = None,
        max_staleness_s: float | None = None,
    ) -> None:
        self.service, self.reached, self.wanted, self.timeout_s = service, reached, wanted, timeout_s
        self.staleness_s, self.max_staleness_s = staleness_s, max_staleness_s
        if max_staleness_s is not None:
            got = (
                "its age is not known (never read to its end, or a clock was set back)"
                if staleness_s is None
                else f"what is held may be {staleness_s:.3f} s old"
            )
            what = f"service '{service}' was not read within the last {max_staleness_s:g} s: {got}"
        else:
            got = "nothing of it has been read yet" if reached is None else f"it is at position {reached}"
            what = f"service '{service}' was not read up to position {wanted} within {timeout_s:g} s: {got}"
        super().__init__(f"{what}. {waiting_for}")


class TookTooLong(SynclineError):
    """A read that its time limit ended; nothing of it is given. `timeout_s` is the limit."""

    def __init__(self, what: str, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        super().__init__(f"{what} took longer than {timeout_s:g} s, and was ended; ask for less, or give it an index")


class StoreError(SynclineError):
    """A database refused or failed; the driver's own error is the cause."""


class Unavailable(StoreError):
    """The database cannot be used now and may be later: missing, locked, read-only, out of space."""


class SourceChanged(StoreError):
    """A table or column that a relation needs is gone or different at the source."""


class Fenced(StoreError):
    """Another relay took over this read store; the one that finds this must stop."""


IN_WORDS_MAX = 2_000


def text_of(error: BaseException) -> str:
    """What an exception of somebody else's code says, as a text that can be stored and shown, whatever it is."""
    try:
        said = str(error)
    except Exception as failed:  # its own __str__ raises, or gives no text
        said = f"(its text cannot be had: {type(failed).__name__})"
    text = said.encode(errors="backslashreplace").decode()
    return text if len(text) <= IN_WORDS_MAX else f"{text[:IN_WORDS_MAX]}… ({len(text):,} characters)"


def in_words(error: BaseException) -> str:
    """An exception of somebody else's code: its class, and what it says."""
    text = text_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
