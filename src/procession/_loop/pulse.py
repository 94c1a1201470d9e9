"""Whether the guardian answers, asked only while an answer is due. Pure: times come in as seconds.

A guardian that is stopped (SIGSTOP, a debugger, a frozen cgroup) holds its socket open and says
nothing. After a second of silence it is asked for a sign and continued; after four more it is killed,
and what it guards falls to the launcher. A busy host makes a guardian late, so silence that short is
not yet taken for an end.
"""

from __future__ import annotations

from enum import Enum, auto

_SILENCE = 1.0  # seconds until it is asked and continued
_LAST_WAIT = 4.0  # further seconds until it is killed


class Remedy(Enum):
    """What to do about a silent guardian."""

    ROUSE = auto()
    KILL = auto()


class Pulse:
    """Counts the guardian's silence."""

    def __init__(self) -> None:
        self._due: float | None = None
        self._roused = False

    def due(self, now: float) -> float:
        """Return when to look next; counting begins with the first call."""
        if self._due is None:
            self._due = now + _SILENCE
        return self._due

    def heard(self) -> None:
        """Take note that the guardian has said something, or that nothing is expected of it."""
        self._due = None
        self._roused = False

    def remedy(self, now: float) -> Remedy | None:
        """Return what is to be done at ``now``, if anything."""
        if self._due is None or now < self._due:
            return None
        remedy = Remedy.KILL if self._roused else Remedy.ROUSE
        self._due, self._roused = now + _LAST_WAIT, True
        return remedy
