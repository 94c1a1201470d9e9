"""When the tail leaves the machine to the workers. No clock.

Writers that are faster than the view will be shown after them anyway: while they write, reader, console
and writer would only share cores, and an event for every write is waste for both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

_STINT = 0.0005  # seconds of work at a stretch, of the thread's own: what it has waited for a core is no work
_REST = 1.0  # times as long is then left to the writers
_FLOOD_REST = 40.0  # where they are faster than the view at work, and want the same processors
_LONGEST_REST = 0.02  # seconds
_MANY, _SHORT = 64, 250e-6  # so many reads in as many times so many seconds are load


class Grows(Protocol):
    """What has a size that only its writer changes."""

    def size(self) -> int:
        """Return it, in bytes."""


class Pace:
    """Tells load from calm, and floods from load.

    Attributes:
        shown: How many bytes have been read so far; whoever reads counts them here.
    """

    def __init__(self) -> None:
        self.shown = 0
        self._reads = 0
        self._counted_from = 0.0
        self._sizes: dict[Grows, int] = {}
        self.begin_stint(0.0, 0.0)

    def is_load(self, reads: int, now: float) -> bool:
        """True where events would come by the thousands a second; told after each round of reads."""
        self._reads += reads
        if self._reads < _MANY:
            return False
        dense = now - self._counted_from < self._reads * _SHORT
        self._reads, self._counted_from = 0, now
        return dense

    def begin_stint(self, worked: float, now: float) -> None:
        """There was a pause: work begins now, after so many seconds of it in all."""
        self._mark({}, worked, now)

    def rest(
        self,
        unread: Iterable[Grows],
        in_all: float,
        now: float,
        crowded: Callable[[], bool],
    ) -> float:
        """How many seconds to rest, in the middle of work: none where nothing grows meanwhile.

        Args:
            unread: The files with more to read.
            in_all: How many seconds the thread has worked so far.
            now: The time, in seconds.
            crowded: Whether all processors are taken; asked in a flood alone.
        """
        worked = in_all - self._worked
        if worked < _STINT:
            return 0.0
        sizes = {file: file.size() for file in unread}
        grown = sum(max(0, size - self._sizes.get(file, size)) for file, size in sizes.items())
        keeps_up = (self.shown - self._shown) * (now - self._marked) >= grown * worked
        self._mark(sizes, in_all, now)
        if not grown:
            return 0.0
        times = _REST if keeps_up or not crowded() else _FLOOD_REST
        return min(times * worked, _LONGEST_REST)

    def _mark(self, sizes: dict[Grows, int], worked: float, now: float) -> None:
        self._sizes, self._worked, self._marked, self._shown = sizes, worked, now, self.shown
