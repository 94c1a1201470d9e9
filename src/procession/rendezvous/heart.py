"""A host's signs of life, and the clock by which they may have come too late."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

from procession._log import Logger
from procession._store.fence import AGAIN, Fence, now
from procession.errors import RendezvousConnectionError, RendezvousError

if TYPE_CHECKING:
    from collections.abc import Callable

    from procession.rendezvous.settings import RendezvousSettings

__all__ = ["Heart", "lifetime"]

logger = Logger(__name__)


def lifetime(settings: RendezvousSettings) -> float:
    """Seconds after which a host that gives no sign of life is taken for dead. Pure."""
    return settings.keep_alive_interval.total_seconds() * settings.keep_alive_max_attempt


class Heart:
    """Gives a host's signs of life, in a thread once it has a seat.

    Args:
        settings: How often, and how many may be missing.
        give: Gives one under an id; returns whether that one is not taken for dead.

    Attributes:
        stopped: No further one is given.
    """

    def __init__(self, settings: RendezvousSettings, give: Callable[[str], bool]) -> None:
        self._run_id = settings.run_id
        self._interval = settings.keep_alive_interval.total_seconds()
        self._fence = Fence(lifetime(settings), -math.inf)
        self._give = give
        self._id = ""
        self._missing = ""  # the id under which the others have taken this host for dead
        self._thread: threading.Thread | None = None
        self.stopped = threading.Event()

    @property
    def is_due(self) -> bool:
        """Whether it is time for another one."""
        return now() >= self._fence.sent + self._interval

    def given(self, sent: float) -> None:
        """Take note of one that the others have got.

        Args:
            sent: When it was sent, in seconds of ``_store.fence.now``.
        """
        self._fence.sent = max(sent, self._fence.sent)

    def beat(self, me: str) -> None:
        """Give them under this id from now on."""
        self._id = me
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="RendezvousHeart", daemon=True)
            self._thread.start()

    @property
    def kill_at_ns(self) -> int:
        """When the host's workers have to be gone (CLOCK_BOOTTIME ns); 0 before it has a seat."""
        return self._fence.kill_at_ns if self._id else 0

    def require_touch(self) -> None:
        """See to it that the others cannot go on without this host.

        Raises:
            RendezvousConnectionError: They do, or may soon.
        """
        if self._id and self._missing == self._id:
            raise RendezvousConnectionError(
                f"the rendezvous {self._run_id}: the others have taken this host for dead, and go on "
                "without it"
            )
        if self._id and not self._fence.is_good:
            raise RendezvousConnectionError(
                f"the rendezvous {self._run_id} has not been reached for {now() - self._fence.sent:.1f} s: "
                "the others may go on without this host"
            )

    def stop(self, patience: float | None = None) -> None:
        """Give no further one; for one that is being given, wait for so many seconds at most."""
        self.stopped.set()
        if self._thread is not None:
            self._thread.join(patience)

    def _run(self) -> None:
        """Give them until the end; one that failed is tried again soon."""
        pause = self._interval
        while not self.stopped.wait(pause):
            sent, me = now(), self._id
            try:
                there = self._give(me)
            except RendezvousError as error:
                logger.warning("the rendezvous %s: %s", self._run_id, error)
                pause = min(AGAIN * self._fence.ttl, self._interval)
                continue
            pause = self._interval
            if there:
                self.given(sent)
            else:
                self._missing = me
