"""The time by which a gang has to be gone, whatever becomes of this process: its guardian knows it."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from procession._os.boottime import boottime_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from procession._guardian.client import Guardian

# It is looked at anew while there is time to tell of a change, whatever this process waits for: a
# gang that starts or is being stopped is waited for alone.
_SHARE = 0.25  # of what is left
_GLANCE = 0.1  # seconds, at least


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

    def tend(self) -> float:
        """Tell the guardian of a change; before a worker can be there, and whenever something happens.

        Returns:
            When to do so again, monotonic seconds.
        """
        until = self._until()
        if until != self._told:
            self._guardian.ask("fuse", until)
            self._told = until
        if not until:
            return math.inf
        left = (until - boottime_ns()) / 1e9
        return time.monotonic() + max(_SHARE * left, _GLANCE)

    def put_out(self) -> None:
        """Let a guardian that is kept live: nobody is left, and what it has warm may wait for hosts."""
        if self._told and not self._guardian.channel.closed:
            self._guardian.ask("fuse", 0)
