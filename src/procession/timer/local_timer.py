"""Timers over a ``multiprocessing`` queue, for workers that the server's process has started."""

from __future__ import annotations

import os
import signal
import time
from queue import Empty
from typing import TYPE_CHECKING, Any

from procession._log import Logger
from procession.timer.api import RequestQueue, TimerClient, TimerRequest, TimerServer

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

__all__ = ["LocalTimerClient", "LocalTimerServer", "MultiprocessingRequestQueue"]

logger = Logger(__name__)


class LocalTimerClient(TimerClient):
    """Speaks to a ``LocalTimerServer``, which knows this worker by its pid.

    Args:
        mp_queue: The server's queue.
    """

    def __init__(self, mp_queue: Any) -> None:
        self._mp_queue = mp_queue

    def acquire(self, scope_id: str, expiration_time: float) -> None:
        """Begin a timer; see ``TimerClient``."""
        self._mp_queue.put(TimerRequest(os.getpid(), scope_id, expiration_time))

    def release(self, scope_id: str) -> None:
        """End a timer."""
        self._mp_queue.put(TimerRequest(os.getpid(), scope_id, -1))


class MultiprocessingRequestQueue(RequestQueue):
    """Requests in a ``multiprocessing.Queue``.

    Args:
        mp_queue: The queue.
    """

    def __init__(self, mp_queue: Queue[TimerRequest]) -> None:
        self._mp_queue = mp_queue

    def size(self) -> int:
        """Return how many wait."""
        return self._mp_queue.qsize()

    def get(self, size: int, timeout: float) -> list[TimerRequest]:
        """Take requests; see ``RequestQueue``."""
        deadline, requests = time.monotonic() + timeout, list[TimerRequest]()
        while len(requests) < size:
            left = deadline - time.monotonic()
            try:
                requests.append(self._mp_queue.get(timeout=max(left, 0)))
            except Empty:
                break
        return requests


class LocalTimerServer(TimerServer):
    """Ends workers of this host with SIGKILL, which it knows by their pids.

    Args:
        mp_queue: Where requests come from.
        max_interval: Seconds between two looks at the timers, at most.
        daemon: Whether its thread lets the process end.
    """

    def __init__(
        self, mp_queue: Queue[TimerRequest], max_interval: float = 60, daemon: bool = True
    ) -> None:
        super().__init__(MultiprocessingRequestQueue(mp_queue), max_interval, daemon)
        self._timers: dict[tuple[Any, str], TimerRequest] = {}

    def register_timers(self, timer_requests: list[TimerRequest]) -> None:
        """Take note of timers that begin or end."""
        for request in timer_requests:
            key = request.worker_id, request.scope_id
            if request.expiration_time < 0:
                self._timers.pop(key, None)
            else:
                self._timers[key] = request

    def clear_timers(self, worker_ids: set[int]) -> None:
        """Forget all timers of these workers."""
        self._timers = {key: t for key, t in self._timers.items() if key[0] not in worker_ids}

    def get_expired_timers(self, deadline: float) -> dict[Any, list[TimerRequest]]:
        """Return the timers that run out at or before a wall-clock time, by worker."""
        expired: dict[Any, list[TimerRequest]] = {}
        for request in self._timers.values():
            if request.expiration_time <= deadline:
                expired.setdefault(request.worker_id, []).append(request)
        return expired

    def _reap_worker(self, worker_id: int) -> bool:
        try:
            os.kill(worker_id, signal.SIGKILL)
        except ProcessLookupError:
            logger.info("worker %s is gone already", worker_id)
        except Exception:
            logger.exception("ending worker %s", worker_id)
            return False
        return True
