"""Waiting for a gang and for something else at once: for a launcher that listens to others too."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from procession._loop.machine import Stop

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from procession.multiprocessing.context import PContext
    from procession.multiprocessing.results import RunProcsResult

__all__ = ["Beside"]


class Beside:
    """A gang, for whoever does not only wait for it.

    Args:
        context: The running gang.
    """

    def __init__(self, context: PContext) -> None:
        self.context = context
        self._gang = context._running_gang()
        self._failure_known = False

    def wait(
        self, fd: int, timeout: float, interrupted: Callable[[], bool]
    ) -> RunProcsResult | None:
        """Wait as ``PContext.wait``, but no longer than until there is other news.

        Args:
            fd: Readable once there is.
            timeout: Seconds, ``math.inf`` without end; not looked at while the gang is stopped.
            interrupted: Asked after every wakeup; True ends the wait.

        Returns:
            The result; None if workers live, also once after the first of them has failed.

        Raises:
            GuardianLostError: The guardian died; no worker is left.
        """
        heard: list[int] = []

        def has_news() -> bool:
            return bool(heard) or interrupted() or self.failing != self._failure_known

        self._gang.watch(fd, lambda: heard.append(fd))
        try:
            result = self.context.wait_until(time.monotonic() + timeout, has_news)
        finally:
            self._gang.unwatch(fd)
        self._failure_known = self.failing
        return result

    @property
    def since_boot_ns(self) -> int:
        """What the wall-clock times of failures have more than CLOCK_MONOTONIC, ns."""
        return self._gang.since_boot_ns

    @property
    def failing(self) -> bool:
        """Whether a worker has failed, and the others are being stopped for it."""
        return self._gang.failing

    def stop(self, death_sig: signal.Signals, timeout: float) -> None:
        """Begin to stop the gang, as ``PContext.close`` does, and return; ``wait`` sees the end."""
        self._gang.ask_to_stop(Stop(int(death_sig), timeout))

    def stop_now(self) -> None:
        """End the grace of a stop that was begun more than a second ago."""
        self._gang.ask_to_stop(None)
