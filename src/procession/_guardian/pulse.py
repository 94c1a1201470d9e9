"""Whether the guardian answers, asked only while an answer is due. Pure: times come in as seconds.

A guardian that is stopped (SIGSTOP, a debugger, a frozen cgroup) holds its socket open and says
nothing. After a second of silence it is asked for a sign and continued. A second later it is killed if
it is stopped all the same, and what it guards falls to the launcher. One that runs is only late, on a
host with more to do than it can; it is given up after five seconds.
"""

from __future__ import annotations

from enum import Enum, auto

_SILENCE = 1.0  # seconds until it is asked and continued
_TO_ANSWER = 1.0  # further seconds until it is looked at
_LAST_WAIT = 3.0  # further seconds until it is killed, whatever it looks like


class Remedy(Enum):
    """What to do about a silent guardian."""

    ROUSE = auto()
    KILL_IF_STOPPED = auto()
    KILL = auto()


_COURSE = ((Remedy.ROUSE, _TO_ANSWER), (Remedy.KILL_IF_STOPPED, _LAST_WAIT), (Remedy.KILL, 1.0))


class Pulse:
    """Counts the guardian's silence."""

    def __init__(self) -> None:
        self._due: float | None = None
        self._taken = 0  # steps of the course

    def due(self, now: float) -> float:
        """Return when to look next; counting begins with the first call."""
        if self._due is None:
            self._due = now + _SILENCE
        return self._due

    def heard(self) -> None:
        """Take note that the guardian has said something, or that nothing is expected of it."""
        self._due = None
        self._taken = 0

    def remedy(self, now: float) -> Remedy | None:
        """Return what is to be done at ``now``, if anything."""
        if self._due is None or now < self._due:
            return None
        remedy, pause = _COURSE[min(self._taken, len(_COURSE) - 1)]
        self._due, self._taken = now + pause, self._taken + 1
        return remedy
