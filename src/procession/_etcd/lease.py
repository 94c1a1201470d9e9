"""A lease that is kept alive, and a word in time when that may have failed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from procession._store.fence import AGAIN, INTERVAL, TRY, Fence, now
from procession.errors import ProcessionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from procession._etcd.client import Client


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
        self._kept = kept
        self._lost = lost
        self._closed = threading.Event()
        self._fence = Fence(ttl, now())
        self.id = client.grant(ttl)

    @property
    def is_good(self) -> bool:
        """Whether the lease cannot have run out yet, nor soon will."""
        return self._fence.is_good

    @property
    def kill_at_ns(self) -> int:
        """When workers have to be gone, CLOCK_BOOTTIME ns; put off by each answer of etcd."""
        return self._fence.kill_at_ns

    def run(self) -> None:
        """Keep the lease until ``close``, or until it is lost."""
        fence, ttl = self._fence, self._fence.ttl
        problem, pause = "", INTERVAL * ttl
        while not self._closed.wait(min(pause, self._left())):
            sent = now()
            if sent >= fence.good_until:
                self._lost(fence.loss("etcd", problem))
                return
            try:
                left = self._client.keep_alive(self.id, min(TRY * ttl, self._left()))
            except ProcessionError as error:
                problem, pause = str(error), AGAIN * ttl
                continue
            if not left:
                self._lost("etcd has let this host's lease run out")
                return
            fence.sent, problem, pause = sent, "", INTERVAL * ttl
            self._kept(self._client.revision)

    def close(self) -> None:
        """Stop keeping it alive; it is not revoked."""
        self._closed.set()
        self.join()

    def _left(self) -> float:
        return max(self._fence.good_until - now(), 0.01)
