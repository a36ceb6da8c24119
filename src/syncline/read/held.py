"""What a read says, and refuses, while streams of its services are held back: marked rows, notes, reasons. Pure.

A row that is known to depend on a stream held back is as it was before the event that failed. It is served to whoever brings no
token, and said to be so. Which rows the event would have changed besides, nobody can tell: what makes rows of it failed. So a
token that includes the event is reached nowhere in a view that reads its service.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from syncline.messages import DeadLetter, Key, Token

SHOWN = 3


@dataclass(frozen=True, slots=True)
class Held:
    """What of an answer depends on streams that are held back.

    `letters` are those of the services that the view reads; `marked` the keys of the rows that depend on them, None where nobody
    can tell, as of the rows of a query. `is_untold`: what the streams would add may belong to any row of the view. `is_discreet`:
    whose streams they are, and what their events say, is not told: whoever asks sees some rows alone.
    """

    letters: Sequence[DeadLetter] = ()
    marked: Sequence[Key] | None = ()
    is_untold: bool = False
    is_discreet: bool = False

    def note(self) -> tuple[str, ...]:
        """What every read of the view says."""
        if not self.letters:
            return ()
        marked = self.marked
        if marked is None:
            return (f"held back: {self._told(self.letters)}; rows of this answer may depend on it",)
        amount = {0: "no row of this answer is known to depend on it", 1: "1 row of this answer depends on it"}
        depends = amount.get(len(marked), f"{len(marked):,} rows of this answer depend on it")
        if marked:
            depends += f": {', '.join(map(str, marked[:SHOWN]))}{', …' if len(marked) > SHOWN else ''}"
        untold = "; what it would add may belong to any row" if self.is_untold else ""
        return (f"held back: {self._told(self.letters)}; {depends}{untold}",)

    def refusal(self, token: Token, current: Token) -> str | None:
        """Why a read with `token` at the vector `current` is refused; None when it is not."""
        asked = _asked_for(self.letters, token, current)
        if asked:
            return f"the token includes what waits in {self._told(asked)}, which may change any row"
        if self.marked:
            return f"row {self.marked[0]} depends on {self._told(self.letters)}"
        if self.marked is None and self.letters:
            return f"rows of the answer may depend on {self._told(self.letters)}"
        return None

    def _told(self, letters: Sequence[DeadLetter]) -> str:
        return told_discreetly(letters) if self.is_discreet else told(letters)


def _asked_for(letters: Sequence[DeadLetter], token: Token, current: Token) -> list[DeadLetter]:
    """Those whose event a token includes; a token of another history may include any."""
    found: list[DeadLetter] = []
    for letter in letters:
        asked, here = token.positions.get(letter.service), current.positions.get(letter.service)
        if asked is not None and (here is None or asked.incarnation != here.incarnation or asked.n >= letter.position):
            found.append(letter)
    return found


def told(letters: Sequence[DeadLetter]) -> str:
    """Streams that are held back, in one line for people."""
    shown = [
        f"stream '{each.stream}' of service '{each.service}' from position {each.position} on ({each.event}: {each.error})"
        for each in letters[:SHOWN]
    ]
    more = len(letters) - len(shown)
    return ", ".join([*shown, *([f"and {more} more that `syncline dead-letters` lists"] if more else [])])


def told_discreetly(letters: Sequence[DeadLetter]) -> str:
    """How many streams are held back, of which services: nothing that an event or a key could say."""
    services = ", ".join(sorted({f"'{each.service}'" for each in letters}))
    return f"{len(letters)} stream{'' if len(letters) == 1 else 's'} of service {services}"
