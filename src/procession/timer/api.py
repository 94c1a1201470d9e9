"""What timers, their clients and their servers are."""

from __future__ import annotations

import abc
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from procession._log import Logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "RequestQueue",
    "TimerClient",
    "TimerRequest",
    "TimerServer",
    "configure",
    "expires",
]

logger = Logger(__name__)


class TimerRequest:
    """A worker begins a timer, or, with a negative time, ends it.

    Args:
        worker_id: Whoever asks, as its server knows it.
        scope_id: Which of its timers.
        expiration_time: Wall-clock seconds since the epoch; negative to end it.
    """

    __slots__ = ["expiration_time", "scope_id", "worker_id"]

    def __init__(self, worker_id: Any, scope_id: str, expiration_time: float) -> None:
        self.worker_id = worker_id
        self.scope_id = scope_id
        self.expiration_time = expiration_time

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TimerRequest):
            return False
        return self._fields() == other._fields()

    __hash__ = None  # type: ignore[assignment]  # as torch's: it may be changed

    def _fields(self) -> tuple[Any, ...]:
        return self.worker_id, self.scope_id, self.expiration_time


class TimerClient(abc.ABC):
    """A worker's way to a timer server."""

    @abc.abstractmethod
    def acquire(self, scope_id: str, expiration_time: float) -> None:
        """Begin a timer of this worker.

        Args:
            scope_id: Which.
            expiration_time: Wall-clock seconds since the epoch.
        """

    @abc.abstractmethod
    def release(self, scope_id: str) -> None:
        """End a timer of this worker."""


class RequestQueue(abc.ABC):
    """Where a server gets requests from."""

    @abc.abstractmethod
    def size(self) -> int:
        """Return how many wait; there may be more by the time of ``get``, never fewer."""

    @abc.abstractmethod
    def get(self, size: int, timeout: float) -> list[TimerRequest]:
        """Take requests.

        Args:
            size: How many at most.
            timeout: Seconds to wait for them, all together.
        """


class TimerServer(abc.ABC):
    """Has workers ended whose timers have run out; a subclass says how.

    Args:
        request_queue: Where requests come from.
        max_interval: Seconds between two looks at the timers, at most.
        daemon: Whether its thread lets the process end.
    """

    def __init__(
        self, request_queue: RequestQueue, max_interval: float, daemon: bool = True
    ) -> None:
        self._request_queue = request_queue
        self._max_interval = max_interval
        self._daemon = daemon
        self._watchdog_thread: threading.Thread | None = None
        self._stop_signaled = False

    @abc.abstractmethod
    def register_timers(self, timer_requests: list[TimerRequest]) -> None:
        """Take note of timers that begin or end."""

    @abc.abstractmethod
    def clear_timers(self, worker_ids: set[Any]) -> None:
        """Forget all timers of these workers."""

    @abc.abstractmethod
    def get_expired_timers(self, deadline: float) -> dict[Any, list[TimerRequest]]:
        """Return the timers that run out at or before a time, by worker.

        Args:
            deadline: Wall-clock seconds since the epoch.
        """

    @abc.abstractmethod
    def _reap_worker(self, worker_id: Any) -> bool:
        """End a worker; False if that is to be tried again."""

    def start(self) -> None:
        """Begin to look after timers, in a thread."""
        self._watchdog_thread = threading.Thread(target=self._watchdog_loop, daemon=self._daemon)
        self._watchdog_thread.start()

    def stop(self) -> None:
        """Stop looking; waits for the thread for ``max_interval`` seconds."""
        self._stop_signaled = True
        thread, self._watchdog_thread = self._watchdog_thread, None
        if thread is not None:
            thread.join(self._max_interval)

    # ---- inside

    def _watchdog_loop(self) -> None:
        while not self._stop_signaled:
            try:
                self._run_watchdog()
            except Exception:
                logger.exception("the timer server goes on after")

    def _run_watchdog(self) -> None:
        size = max(1, self._request_queue.size())
        self.register_timers(self._request_queue.get(size, self._max_interval))
        expired = self.get_expired_timers(time.time())
        gone = {worker for worker, timers in expired.items() if self._end(worker, timers)}
        self.clear_timers(gone)

    def _end(self, worker_id: Any, timers: list[TimerRequest]) -> bool:
        scopes = ", ".join(self._get_scopes(timers))
        logger.info("worker %s is ended: its timers %s have run out", worker_id, scopes)
        ended = self._reap_worker_no_throw(worker_id)
        if not ended:
            logger.error("worker %s could not be ended; it is tried again", worker_id)
        return ended

    def _reap_worker_no_throw(self, worker_id: Any) -> bool:
        """End a worker; an exception counts as an end, else it would be raised for ever."""
        try:
            return self._reap_worker(worker_id)
        except Exception:
            logger.exception("ending worker %s", worker_id)
            return True

    def _get_scopes(self, timer_requests: Sequence[TimerRequest]) -> list[str]:
        return [request.scope_id for request in timer_requests]


class _Configured:
    """The client of this process; it has one, as it has one `logging`."""

    def __init__(self) -> None:
        self.client: TimerClient | None = None


_configured = _Configured()


def configure(timer_client: TimerClient) -> None:
    """Say by which client ``expires`` speaks to the server."""
    _configured.client = timer_client


@contextmanager
def expires(
    after: float, scope: str | None = None, client: TimerClient | None = None
) -> Iterator[None]:
    """Have this worker ended if the body takes too long.

    Args:
        after: Seconds; the server looks from time to time, so it may be a little more.
        scope: Names the timer; the place in the source of the ``with`` where None.
        client: The way to the server; that of ``configure`` where None.

    Raises:
        RuntimeError: Neither a client nor ``configure`` was given.
    """
    client = client or _configured.client
    if client is None:
        raise RuntimeError("Configure timer client before using countdown timers.")
    if scope is None:
        caller = sys._getframe(2)  # above contextlib's __enter__
        scope = f"{caller.f_code.co_filename}#{caller.f_lineno}"
    client.acquire(scope, time.time() + after)
    try:
        yield
    finally:
        client.release(scope)
