"""Watching the space that is left for logs, and warning before there is none.

Nothing is asked while nothing is written. What is written counts down to the next look, so that a
fast writer is looked at more often than once a second.
"""

from __future__ import annotations

import os
import time
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_PERIOD = 1.0  # seconds between two looks while something is written
_SOON, _VERY_SOON = 300.0, 30.0  # seconds until the disk is full at the present rate
_LITTLE, _VERY_LITTLE = 0.05, 0.01  # of the file system
_PLENTY = 10 * 2**30  # bytes that are enough for a while, whatever part of the disk they are
_HALF_LIFE = 5.0  # seconds in which an old rate counts half


class Alarm(IntEnum):
    """How bad it is."""

    NONE = 0
    LOW = 1
    URGENT = 2
    FULL = 3


class Space(NamedTuple):
    """The state of a file system.

    Attributes:
        free: Bytes that an ordinary user can write.
        total: Its size in bytes.
        rate: Bytes of logs that are written to it in a second.
    """

    free: int
    total: int
    rate: float = 0.0

    @property
    def seconds_left(self) -> float:
        """How long the space lasts at this rate."""
        return self.free / self.rate if self.rate > 0 else float("inf")

    def alarm(self) -> Alarm:
        """How bad it is: by the time that is left, and by what is free where that is little."""
        if self.free <= 0:
            return Alarm.FULL
        part = self.free / max(self.total, 1) if self.free < _PLENTY else 1.0
        if self.seconds_left < _VERY_SOON or part < _VERY_LITTLE:
            return Alarm.URGENT
        return Alarm.LOW if self.seconds_left < _SOON or part < _LITTLE else Alarm.NONE

    def roomier(self) -> Space:
        """As if half were free of what is: an alarm ends only where this raises none."""
        return self._replace(free=self.free // 2)

    def words(self, directory: str) -> str:
        """What a person is told."""
        if self.free <= 0:
            return (
                f"the disk under {directory} is full: what workers write there fails (ENOSPC). "
                "The run goes on; make room, and writes succeed again"
            )
        left = self.seconds_left
        lasts = f", enough for {_duration(left)} at {_bytes(self.rate)}/s" if left < _SOON else ""
        return f"{_bytes(self.free)} left for logs in {directory}{lasts}"


def measure(directory: str) -> Space | None:
    """Ask the file system; None where it does not say."""
    try:
        facts = os.statvfs(directory)
    except OSError:
        return None
    if not facts.f_blocks:  # some file systems in user space know no size
        return None
    return Space(facts.f_bavail * facts.f_frsize, facts.f_blocks * facts.f_frsize)


class SpaceWatch:
    """Looks at the file system of a directory while logs are written to it.

    Args:
        directory: Where the logs are.
        say: Is told each alarm once, until it has ended; it must not block.
    """

    def __init__(self, directory: str, say: Callable[[str], None]) -> None:
        self._directory = directory
        self._say = say
        self._raised = Alarm.NONE
        self._rate = 0.0
        self._written = 0  # since the last look
        self._looked = time.monotonic()
        space = measure(directory)
        self._free = space.free if space else 0

    def note(self, count: int) -> None:
        """Take note of bytes that have been written, or, negative, given back to the disk."""
        self._written += count
        if self._written * 4 > self._free:
            self._look_now(time.monotonic())

    def look(self, now: float) -> None:
        """Look again if something was written and the last look was a while ago."""
        if self._written and now - self._looked >= _PERIOD:
            self._look_now(now)

    def _look_now(self, now: float) -> None:
        space = measure(self._directory)
        self._rate = smoothed(self._rate, self._written, now - self._looked)
        self._written, self._looked = 0, now
        if space is None:
            return
        self._free = space.free
        self._judge(space._replace(rate=self._rate))

    def _judge(self, space: Space) -> None:
        alarm = space.alarm()
        if alarm > self._raised:
            self._say(space.words(self._directory))
            self._raised = alarm
        elif space.roomier().alarm() is Alarm.NONE:
            self._raised = Alarm.NONE


def smoothed(rate: float, count: int, seconds: float) -> float:
    """The rate after ``count`` more bytes in so many seconds; what is old counts less. Pure."""
    if seconds <= 0:
        return rate
    weight: float = 0.5 ** (seconds / _HALF_LIFE)
    return rate * weight + count / seconds * (1 - weight)


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
