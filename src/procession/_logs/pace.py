"""When the tail leaves the machine to the workers. No clock.

Writers that are faster than the view will be shown after them anyway: while they write, reader, console
and writer would only share cores (64 KiB writes take 2.3 times as long on two cores), and an event for
every write is waste for both sides.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

_STINT = 0.002  # seconds of work at a stretch, of the thread's own: what it has waited for a core is no work
_REST = 2.0  # times as long is then left to the writers
_LONGEST_REST = 0.02  # seconds
_MANY, _SHORT = 64, 250e-6  # so many reads in as many times so many seconds are load


class Grows(Protocol):
    """What has a size that only its writer changes."""

    def size(self) -> int:
        """Return it, in bytes."""


class Pace:
    """Tells load from calm, and floods from load."""

    def __init__(self) -> None:
        self._reads = 0
        self._counted_from = 0.0
        self._stint_from = 0.0
        self._sizes: dict[Grows, int] = {}

    def is_load(self, reads: int, now: float) -> bool:
        """True where events would come by the thousands a second; told after each round of reads."""
        self._reads += reads
        if self._reads < _MANY:
            return False
        dense = now - self._counted_from < self._reads * _SHORT
        self._reads, self._counted_from = 0, now
        return dense

    def begin_stint(self, worked: float) -> None:
        """There was a pause: work begins now, after so many seconds of it in all."""
        self._stint_from = worked
        self._sizes.clear()

    def rest(self, unread: Iterable[Grows], in_all: float) -> float:
        """How many seconds to rest, in the middle of work: none but in a flood.

        Args:
            unread: The files with more to read.
            in_all: How many seconds the thread has worked so far.
        """
        worked = in_all - self._stint_from
        if worked < _STINT:
            return 0.0
        sizes = {file: file.size() for file in unread}
        grown = any(size > self._sizes.get(file, size) for file, size in sizes.items())
        self._stint_from, self._sizes = in_all, sizes
        return min(_REST * worked, _LONGEST_REST) if grown else 0.0
