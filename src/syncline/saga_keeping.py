"""The sagas of a store in memory: each with its state, folded from the events that came for it, and those still to react to."""

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

from syncline.codec import CommandCodec, EventCodec, from_json, to_json
from syncline.stores.saga_store import SagaStore, StoredCommand, StoredInput, StoredSaga
from syncline.write.saga import CommandRejected, Saga, evolved

KEPT_SAGAS: Final = 50_000
"""How many sagas' states are held, at most, between two steps."""
GOES_ON = ("open", "ended")


@dataclass(slots=True)
class Kept:
    """One saga that was begun. `pending` are the events that it has not reacted to, decoded where that was done already; `fault`
    is why its state could not be folded."""

    saga: Saga
    stored: StoredSaga
    state: Any
    pending: deque[tuple[StoredInput, Any]] = field(default_factory=deque)
    fault: BaseException | None = None

    @property
    def goes_on(self) -> bool:
        """Whether it reacts to what comes: it is neither parked nor given up."""
        return self.stored.status in GOES_ON


class KeptSagas:
    """The sagas of a store, read when they are needed. One thread owns it."""

    def __init__(self, store: SagaStore, sagas: Iterable[Saga], codecs: Mapping[str, EventCodec]) -> None:
        """`codecs` are those of the services' events, by service."""
        self._store, self._codecs = store, codecs
        self._command_codecs: Mapping[str, CommandCodec] = {saga.name: saga.command_codec for saga in sagas}
        self._kept: OrderedDict[tuple[str, str], Kept] = OrderedDict()

    def find(self, saga: Saga, keys: Iterable[str]) -> dict[str, Kept]:
        """Those of these that were begun."""
        wanted = set(keys)
        missing = [key for key in wanted if (saga.name, key) not in self._kept]
        found = self._store.sagas(saga.name, missing) if missing else {}
        inputs = self._store.inputs(saga.name, list(found)) if found else {}
        for key, stored in found.items():
            self._keep(saga, stored, inputs.get(key, []))
        return {key: kept for key in wanted if (kept := self._kept.get((saga.name, key))) is not None}

    def begin(self, saga: Saga, stored: StoredSaga) -> Kept:
        """One that is new."""
        return self._keep(saga, stored, [])

    def fold_anew(self, kept: Kept) -> Kept:
        """The same from what is stored, with everything pending that it has not reacted to."""
        key = kept.stored.key
        return self._keep(kept.saga, kept.stored, self._store.inputs(kept.saga.name, [key]).get(key, []))

    def forget_oldest(self) -> None:
        """Keeps memory bounded; call it when all is stored."""
        while len(self._kept) > KEPT_SAGAS:
            self._kept.popitem(last=False)

    def event(self, saga: Saga, received: StoredInput) -> Any:
        """The event that came. Raises UnknownEvent for one that this program cannot read."""
        if received.service == saga.name:
            data = from_json(received.data)
            command = self._command_codecs[saga.name].parse(data["command"], to_json(data["payload"]))
            return CommandRejected(command, data["reason"])
        codec = self._codecs[received.service]
        return codec.decode(received.name, received.shape, received.data, received.key, received.position)

    def command(self, stored: StoredCommand) -> Any:
        """The command that is stored. Raises NotFound, InvalidCommand."""
        return self._command_codecs[stored.saga].decode(stored.name, stored.payload)

    def text(self, saga: Saga, command: Any) -> str:
        """A command as it is stored. Raises InvalidCommand."""
        return self._command_codecs[saga.name].text(command)

    def _keep(self, saga: Saga, stored: StoredSaga, inputs: Sequence[StoredInput]) -> Kept:
        kept = self._kept[saga.name, stored.key] = Kept(saga, stored, saga.initial)
        try:
            for received in inputs[: stored.handled] if saga.evolve is not None else ():
                kept.state = evolved(saga, kept.state, self.event(saga, received))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # of a user's function, whatever it raises: it is this saga's alone
            kept.fault = error
        if kept.goes_on:
            kept.pending.extend((received, None) for received in inputs[stored.handled :])
        return kept


def command_id(saga: str, received: StoredInput, number: int) -> str:
    """The id of a command by what led to it, and by nothing that may be otherwise the next time: not by the order in which
    services were read. So what is sent anew from a store that was lost, or restored from an older copy, takes effect once."""
    led_to_it = [received.key, received.service, received.position, received.cause, number]
    return f"{saga}-{blake2b(to_json([saga, *led_to_it]), digest_size=16).hexdigest()}"
