"""A lease that is kept alive, and a word in time when that may have failed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from procession._os.boottime import boottime_ns
from procession.errors import ProcessionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from procession._etcd.client import Client

# Of a lease's time: how often it is begun anew, how soon
# again after a failed try, how long one try takes, and when it counts as lost.
# The rest, up to 1, is for killing workers; etcd counts from when it hears of us, which is later
# than when we have sent, so its lease never ends before ours (feasible drift of clocks: one percent).
_INTERVAL = 0.2
_AGAIN = 0.05
_TRY = 0.2
_LOST = 0.7
_KILLED = 0.85  # the time by which workers are killed even where this process has been stopped


class Lease(threading.Thread):
    """A thread that keeps a lease alive.

    Args:
        client: Its own way to etcd: nobody else's request may stand before it.
        ttl: Seconds that the lease lasts without it.
        kept: Called in this thread each time, with the store's revision.
        lost: Called in this thread once, with a reason, so early that whoever is told has
            0.3 of ``ttl`` left; the thread then ends.
    """

    def __init__(
        self,
        client: Client,
        ttl: int,
        kept: Callable[[int], None],
        lost: Callable[[str], None],
    ) -> None:
        super().__init__(name="procession-etcd-lease", daemon=True)
        self._client = client
        self._ttl = ttl
        self._kept = kept
        self._lost = lost
        self._closed = threading.Event()
        self._sent = now()
        self.id = client.grant(ttl)

    @property
    def is_good(self) -> bool:
        """Whether the lease cannot have run out yet, nor soon will."""
        return now() < self._good_until

    @property
    def kill_at_ns(self) -> int:
        """When workers have to be gone, CLOCK_BOOTTIME ns; put off by each answer of etcd."""
        return int((self._sent + _KILLED * self._ttl) * 1e9)

    @property
    def _good_until(self) -> float:
        return self._sent + _LOST * self._ttl

    def run(self) -> None:
        """Keep the lease until ``close``, or until it is lost."""
        problem, pause = "", _INTERVAL * self._ttl
        while not self._closed.wait(min(pause, self._left())):
            sent = now()
            if sent >= self._good_until:
                self._lost(f"etcd has not answered for {_LOST * self._ttl:.1f} s: {problem}")
                return
            try:
                left = self._client.keep_alive(self.id, min(_TRY * self._ttl, self._left()))
            except ProcessionError as error:
                problem, pause = str(error), _AGAIN * self._ttl
                continue
            if not left:
                self._lost("etcd has let this host's lease run out")
                return
            self._sent, pause = sent, _INTERVAL * self._ttl
            self._kept(self._client.revision)

    def close(self) -> None:
        """Stop keeping it alive; it is not revoked."""
        self._closed.set()
        self.join()

    def _left(self) -> float:
        return max(self._good_until - now(), 0.01)


def now() -> float:
    """Seconds that go on while the host sleeps."""
    return boottime_ns() / 1e9
