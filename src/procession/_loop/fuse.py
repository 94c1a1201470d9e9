"""The time by which a gang has to be gone, whatever becomes of this process: its guardian knows it."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from procession._guardian.client import Guardian

# A running gang is waited for together with whatever puts the time off, so each change wakes us; one
# that starts is waited for alone, and its fork server may be importing for longer than a lease lasts.
_GLANCE = 0.1  # seconds


class Fuse:
    """Tells the guardian until when it may let the gang live.

    Args:
        guardian: Kills all at that time by itself, also if this process has been stopped.
        until: That time as it is now, CLOCK_BOOTTIME ns; 0 for never.
    """

    def __init__(self, guardian: Guardian, until: Callable[[], int]) -> None:
        self._guardian = guardian
        self._until = until
        self._told = 0

    def tend(self, *, starting: bool) -> float:
        """Tell the guardian of a change; before a worker can be there, and whenever something happens.

        Returns:
            When to do so again, monotonic seconds.
        """
        until = self._until()
        if until != self._told:
            self._guardian.ask("fuse", until)
            self._told = until
        return time.monotonic() + _GLANCE if until and starting else math.inf
