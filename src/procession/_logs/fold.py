"""Lines that several ranks print at one time, shown once. No I/O and no clock.

Only lines that are equal to the byte are one: what is shown for a rank is what it has written. Each
rank's lines stay in its order.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import NamedTuple

DELAY = 0.25  # seconds for which a line waits for its like
_MOST = 10_000  # lines that wait


class Folded(NamedTuple):
    """A line, with the ranks that have printed it.

    Attributes:
        line: The line, with its end.
        ranks: Who has, in the order in which they have.
        due: When it is shown at the latest, in seconds.
        number: Its place among all lines.
    """

    line: bytes
    ranks: list[int]
    due: float
    number: int


class Fold:
    """Holds lines back for a moment.

    Args:
        ranks: How many ranks there are; a line that all have printed waits no longer.
    """

    def __init__(self, ranks: int) -> None:
        self._ranks = ranks
        self._waiting: deque[Folded] = deque()
        self._alike: dict[bytes, list[Folded]] = {}
        self._last: dict[int, int] = {}  # of each rank, the number of the line it has printed last
        self._count = 0

    def add(self, rank: int, line: bytes, now: float) -> None:
        """Take a line that a rank has printed."""
        alike = self._alike.setdefault(line, [])
        # The first of them that comes after all that this rank has printed before.
        place = bisect_right(alike, self._last.get(rank, -1), key=_number)
        if place == len(alike):
            self._count += 1
            alike.append(Folded(line, [], now + DELAY, self._count))
            self._waiting.append(alike[-1])
        alike[place].ranks.append(rank)
        self._last[rank] = alike[place].number

    def due(self) -> float:
        """When the next line is to be shown; for ever if none waits."""
        if not self._waiting:
            return float("inf")
        first = self._waiting[0]
        full = len(first.ranks) >= self._ranks or len(self._waiting) > _MOST
        return 0.0 if full else first.due

    def take(self, now: float) -> list[Folded]:
        """Return the lines that are due, in the order in which the first of each came."""
        taken = []
        while self._waiting and self.due() <= now:
            taken.append(self._waiting.popleft())
            alike = self._alike[taken[-1].line]
            alike.pop(0)
            if not alike:
                del self._alike[taken[-1].line]
        return taken


def _number(folded: Folded) -> int:
    return folded.number
