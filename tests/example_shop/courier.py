"""Carries events to sagas and commands to services as badly as it may: late, twice, in any order.

Each service's events reach a saga in their order, which every saga may rely on; all else is drawn at random. A command that is
carried twice has another id each time, so that no memory of ids helps: the services' rules alone must.
"""

import random
import sqlite3
from collections import defaultdict
from contextlib import closing
from typing import Any

from shop.cards import AnswerLate
from tests.example_shop.shop_at import Shop

from syncline import Outbox, Rejected, Saga
from syncline.write.event_service import EventService
from syncline.write.saga import CommandRejected, reaction_to

TWICE, VERY_LATE = 0.3, 0.15
"""How likely it is that a command is carried twice, and that one is left lying while others overtake it."""
FOUND, DEADLINE = 0.01, 0.01
"""How likely it is in each step that one that was left lying is found, and that a deadline is over."""


class Courier:
    """Runs the sagas of an application in the test's thread, one step at a time."""

    def __init__(self, shop: Shop, seed: int) -> None:
        self._shop, self._draw = shop, random.Random(seed)
        self._sagas = [part.definition for part in shop.app.parts if isinstance(part.definition, Saga)]
        placed = [part for part in shop.app.parts if isinstance(part.definition, EventService | Outbox)]
        self._logs = [(part.definition, part.store.database) for part in placed]
        self._read: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._states: dict[tuple[str, str], Any] = {}
        self._ended: set[tuple[str, str]] = set()
        self._deadlines: dict[tuple[str, str, str], Any] = {}
        self._commands: list[tuple[Saga, str, Any]] = []
        self._left_lying: list[tuple[Saga, str, Any]] = []
        self._rejections: list[tuple[Saga, str, CommandRejected]] = []

    def run(self) -> None:
        """Until nothing is under way and nothing more happens."""
        while self._step():
            pass

    def _step(self) -> bool:
        steps = [self._take_event, self._send, self._tell_rejection]
        self._draw.shuffle(steps)
        steps = [self._find] * (self._draw.random() < FOUND) + [self._end_deadline] * (self._draw.random() < DEADLINE) + steps
        return any(step() for step in [*steps, self._find, self._end_deadline, self._answer_late])

    def _take_event(self) -> bool:
        """The next event of one log to one saga."""
        pairs = [(saga, log) for saga in self._sagas for log in self._logs]
        self._draw.shuffle(pairs)
        for saga, (source, database) in pairs:
            with closing(sqlite3.connect(database)) as connection:
                sql = "SELECT position, name, shape, data, stream FROM syncline_event WHERE position > ? LIMIT 1"
                found = connection.execute(sql, [self._read[saga.name, source.name]]).fetchone()
            if found is not None:
                position, name, shape, data, stream = found
                self._read[saga.name, source.name] = position
                event = source.event_codec.decode(name, shape, data, stream, position)
                if isinstance(event, saga.event_classes):
                    self._react(saga, getattr(event, saga.key), event)
                return True
        return False

    def _react(self, saga: Saga, key: str, event: Any) -> None:
        which = saga.name, key
        if which not in self._states and not isinstance(event, saga.starts_on):
            return
        reaction = reaction_to(saga, self._states.get(which, saga.initial), event)
        self._states[which] = reaction.state
        if reaction.is_end:
            self._ended.add(which)
            self._deadlines = {name: send for name, send in self._deadlines.items() if name[:2] != which}
        for deadline in reaction.deadlines:
            self._deadlines[*which, deadline.label] = (saga, key, deadline.send)
        for name in reaction.withdrawn:
            self._deadlines.pop((*which, name), None)
        for command in reaction.commands:
            for _ in range(2 if self._draw.random() < TWICE else 1):
                where = self._left_lying if self._draw.random() < VERY_LATE else self._commands
                where.append((saga, key, command))

    def _send(self) -> bool:
        if not self._commands:
            return False
        saga, key, command = self._commands.pop(self._draw.randrange(len(self._commands)))
        try:
            self._shop.send(command)
        except Rejected as error:
            self._rejections.append((saga, key, CommandRejected(command, str(error))))
        return True

    def _find(self) -> bool:
        if not self._left_lying:
            return False
        self._commands.append(self._left_lying.pop(self._draw.randrange(len(self._left_lying))))
        return True

    def _tell_rejection(self) -> bool:
        if not self._rejections:
            return False
        saga, key, rejection = self._rejections.pop(self._draw.randrange(len(self._rejections)))
        assert CommandRejected in saga.event_classes, f"{saga.name} does not expect {rejection}"
        self._react(saga, key, rejection)
        return True

    def _end_deadline(self) -> bool:
        if not self._deadlines:
            return False
        self._commands.append(self._deadlines.pop(self._draw.choice(sorted(self._deadlines))))
        return True

    def _answer_late(self) -> bool:
        """The answers that were held back until all else was over."""
        before = self._shop.app.token("cards_told")
        self._shop.send(AnswerLate())
        return self._shop.app.token("cards_told") != before

    def open(self) -> list[tuple[str, str]]:
        """The sagas that have not ended."""
        return sorted(self._states.keys() - self._ended)
