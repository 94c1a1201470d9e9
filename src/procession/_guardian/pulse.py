"""Whether the guardian answers, asked only while an answer is due. Pure: times come in as seconds.

A guardian that is stopped (SIGSTOP, a debugger) holds its socket open and says nothing. After a second of
silence it is asked for a sign and continued. A second later it is killed if it is stopped all the same, and what
it guards falls to the launcher. One that is not stopped is judged by what it does, not by the clock: on a host with
more to do than it can, whoever waits for a processor is only late, and a kill would not be quicker. It is
given up when it has worked for seconds and says nothing, or when nothing at all has happened to it for long.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from procession._os.vitals import Vitals

_SILENCE = 1.0  # seconds until it is asked and continued
_PAUSE = 1.0  # seconds between the looks at it that follow
# Nanoseconds of processor time without a word: an answer takes a thousandth of a second.
_MOST_WORK = 5 * 10**9
# Looks at one that sleeps and does not stir: a child that is about to exec may be starved too.
_MOST_LOOKS = 30


class Remedy(Enum):
    """What to do about a silent guardian."""

    ROUSE = auto()
    KILL = auto()


class Pulse:
    """Counts the guardian's silence."""

    def __init__(self) -> None:
        self._due: float | None = None
        self._seen: list[Vitals | None] = []  # at the first look of this silence, and at the last
        self._still = 0  # looks one after another at which it had not stirred

    def due(self, now: float) -> float:
        """Return when to look next; counting begins with the first call."""
        if self._due is None:
            self._due = now + _SILENCE
        return self._due

    def heard(self) -> None:
        """Take note that the guardian has said something, or that nothing is expected of it."""
        self._due, self._seen, self._still = None, [], 0

    def is_late(self, now: float) -> bool:
        """Whether to look at it."""
        return self._due is not None and now >= self._due

    def remedy(self, now: float, vitals: Vitals | None) -> Remedy | None:
        """Return what is to be done about one that is late, if anything.

        Args:
            now: When it was looked at.
            vitals: What was seen; None where that cannot be had.
        """
        self._due = now + _PAUSE
        if not self._seen:
            self._seen = [vitals, vitals]
            return Remedy.ROUSE
        first, before = self._seen
        self._seen[1] = vitals
        if vitals is not None and vitals.stopped:
            return Remedy.KILL if before is not None and before.stopped else Remedy.ROUSE
        self._still = 0 if _stirs(before, vitals) else self._still + 1
        lost = _works(first, vitals) or self._still >= _MOST_LOOKS
        return Remedy.KILL if lost else None


def _stirs(before: Vitals | None, now: Vitals | None) -> bool:
    """Whether it has had a processor since, or waits for one."""
    return now is not None and (now.runnable or now != before)


def _works(first: Vitals | None, now: Vitals | None) -> bool:
    return first is not None and now is not None and now.used - first.used >= _MOST_WORK
