"""Timers over a named pipe, for whatever workers of the host know its path."""

from __future__ import annotations

import json
import os
import select
import signal as signals
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from procession._log import Logger
from procession.timer.api import TimerClient, TimerRequest
from procession.timer.debug_info_logging import log_debug_info_for_expired_timers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["FileTimerClient", "FileTimerRequest", "FileTimerServer"]

_TRIES, _PAUSE = 10, 0.1  # seconds; torch's patience with a server that has not started
_PIECE = 64 * 1024  # bytes, all that a pipe holds as a rule (pipe(7))

logger = Logger(__name__)


class FileTimerRequest(TimerRequest):
    """A worker begins a timer, or, with a negative time, ends it.

    Args:
        worker_pid: The worker's pid.
        scope_id: Which of its timers.
        expiration_time: Wall-clock seconds since the epoch; negative to end it.
        signal: What the worker is to be ended by; 0 or less to leave it alone.
    """

    __slots__ = ["signal", "version"]

    def __init__(
        self, worker_pid: int, scope_id: str, expiration_time: float, signal: int = 0
    ) -> None:
        super().__init__(worker_pid, scope_id, expiration_time)
        self.version = 1
        self.signal = signal

    @property
    def worker_pid(self) -> int:
        """The worker's pid."""
        return int(self.worker_id)

    def to_json(self) -> str:
        """As it goes through the pipe."""
        return json.dumps(
            {
                "version": self.version,
                "pid": self.worker_pid,
                "scope_id": self.scope_id,
                "expiration_time": self.expiration_time,
                "signal": self.signal,
            }
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileTimerRequest) and self._fields() == other._fields()

    __hash__ = None

    def _fields(self) -> tuple[Any, ...]:
        return *super()._fields(), self.version, self.signal


class FileTimerClient(TimerClient):
    """Speaks to the ``FileTimerServer`` of this host, which knows this worker by its pid.

    Args:
        file_path: The server's pipe.
        signal: What this worker is to be ended by; 0 or less to leave it alone.
    """

    def __init__(self, file_path: str, signal: int = signals.SIGKILL) -> None:
        self._file_path = file_path
        self.signal = signal

    def acquire(self, scope_id: str, expiration_time: float) -> None:
        """Begin a timer; see ``TimerClient``.

        Raises:
            BrokenPipeError: No server reads from the pipe.
            RuntimeError: The request is longer than what a pipe takes at once.
        """
        self._send_request(
            FileTimerRequest(os.getpid(), scope_id, expiration_time, int(self.signal))
        )

    def release(self, scope_id: str) -> None:
        """End a timer.

        Raises:
            BrokenPipeError: No server reads from the pipe.
        """
        self._send_request(FileTimerRequest(os.getpid(), scope_id, -1, 0))

    def _send_request(self, request: FileTimerRequest) -> None:
        line = f"{request.to_json()}\n".encode()
        if len(line) > select.PIPE_BUF:  # as much comes through in one piece (pipe(7))
            raise RuntimeError(f"a timer request takes {select.PIPE_BUF} bytes at most: {line!r}")
        fd = self._open()
        try:
            os.set_blocking(fd, True)  # a full pipe is one whose server will soon read
            os.write(fd, line)
        finally:
            os.close(fd)

    def _open(self) -> int:
        """Open the pipe; without a reader that fails at once, and a server may yet begin to read."""
        problem: OSError | None = None
        for _ in range(_TRIES):
            try:
                return os.open(self._file_path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                problem = error
                threading.Event().wait(_PAUSE)
        raise BrokenPipeError(f"no timer server reads from {self._file_path}") from problem


class FileTimerServer:
    """Ends workers of this host whose timers have run out.

    Args:
        file_path: The pipe, which is made; what is there is removed.
        run_id: The run, for the log.
        max_interval: Seconds between two looks at the timers, at most.
        daemon: Whether its thread lets the process end.
        log_event: Told of what happens, with the timer that it is about, or None.
    """

    def __init__(
        self,
        file_path: str,
        run_id: str,
        max_interval: float = 10,
        daemon: bool = True,
        log_event: Callable[[str, FileTimerRequest | None], None] | None = None,
    ) -> None:
        self._file_path = file_path
        self._run_id = run_id
        self._max_interval = max_interval
        self._daemon = daemon
        self._timers: dict[tuple[int, str], FileTimerRequest] = {}
        self._stop_signaled = False
        self._run_once = False
        self._watchdog_thread: threading.Thread | None = None
        self._is_client_started = False
        self._request_count = 0
        self._log_event = log_event or (lambda name, request: None)  # noqa: ARG005
        self._last_progress_time = int(time.time())
        with suppress(FileNotFoundError):
            os.remove(file_path)
        os.mkfifo(file_path, 0o600)  # whoever can write to it can have processes killed

    def start(self) -> None:
        """Begin to look after timers, in a thread."""
        pipe = _Pipe(self._file_path)
        self._pipe = pipe
        self._watchdog_thread = threading.Thread(
            target=self._watchdog_loop, args=(pipe,), name="FileTimerServer", daemon=self._daemon
        )
        self._watchdog_thread.start()
        self._log_event("watchdog started", None)

    def stop(self) -> None:
        """Stop looking, and remove the pipe."""
        self._stop_signaled = True
        self._end_thread(self._max_interval)
        self._log_event("watchdog stopped", None)

    def run_once(self) -> None:
        """Look at all requests that have come, and stop; removes the pipe."""
        self._run_once = True
        self._end_thread(None)

    def _end_thread(self, seconds: float | None) -> None:
        thread, self._watchdog_thread = self._watchdog_thread, None
        if thread is not None:
            self._pipe.wake()
            thread.join(seconds)
        with suppress(FileNotFoundError):
            os.remove(self._file_path)

    @staticmethod
    def is_process_running(pid: int) -> bool:
        """Whether a process is there, and may be signalled by this one."""
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return True

    def register_timers(self, timer_requests: list[FileTimerRequest]) -> None:
        """Take note of timers that begin or end."""
        for request in timer_requests:
            self._request_count += 1
            key = request.worker_pid, request.scope_id
            if request.expiration_time < 0:
                self._timers.pop(key, None)
            else:
                self._timers[key] = request

    def clear_timers(self, worker_pids: set[int]) -> None:
        """Forget the timers of these workers, and of all that are gone."""
        self._timers = {
            (pid, scope): timer
            for (pid, scope), timer in self._timers.items()
            if pid not in worker_pids and self.is_process_running(pid)
        }

    def get_expired_timers(self, deadline: float) -> dict[int, list[FileTimerRequest]]:
        """Return the timers that run out at or before a wall-clock time, by the worker's pid."""
        expired: dict[int, list[FileTimerRequest]] = {}
        for request in self._timers.values():
            if request.expiration_time <= deadline:
                expired.setdefault(request.worker_pid, []).append(request)
        return expired

    def get_last_progress_time(self) -> int:
        """Return when the thread last had a look, in seconds since the epoch; now before the first."""
        return self._last_progress_time if self._is_client_started else int(time.time())

    # ---- in the thread

    def _watchdog_loop(self, pipe: _Pipe) -> None:
        with pipe:
            while not self._stop_signaled:
                last = self._run_once
                try:
                    self._run_watchdog(pipe)
                except Exception:
                    logger.exception("the timer server goes on after")
                if last:
                    return
                self._last_progress_time = int(time.time())

    def _run_watchdog(self, pipe: _Pipe) -> None:
        pipe.wait(0 if self._run_once else self._seconds_to_wait())
        # Before what was sent by then is read: who let go in time is heard in time.
        now = time.time()
        requests = list(_requests(pipe.read()))
        self._last_progress_time = int(time.time())  # from now on it may be asked for
        self._is_client_started = self._is_client_started or bool(requests)
        self.register_timers(requests)
        expired = self.get_expired_timers(now)
        log_debug_info_for_expired_timers(
            self._run_id, {pid: [t.to_json() for t in timers] for pid, timers in expired.items()}
        )
        ended = set()
        for pid, timers in expired.items():
            if self._expire(pid, sorted(timers, key=lambda timer: timer.expiration_time)):
                ended.add(pid)
            for timer in timers:
                self._timers.pop((pid, timer.scope_id), None)
        self.clear_timers(ended)

    def _seconds_to_wait(self) -> float:
        """Until the next timer runs out; a clock that is set is noticed after ``max_interval``."""
        times = (timer.expiration_time for timer in self._timers.values())
        return min(max(min(times, default=float("inf")) - time.time(), 0), self._max_interval)

    def _expire(self, pid: int, timers: list[FileTimerRequest]) -> bool:
        """End a worker by the signal of its first timer that has one; whether that was done."""
        for timer in timers:
            self._log_event("timer expired", timer)
        fatal = next((timer for timer in timers if timer.signal > 0), None)
        if fatal is None or not self._reap_worker(pid, fatal.signal):
            return False
        self._log_event("kill worker process", fatal)
        return True

    def _reap_worker(self, worker_pid: int, signal: int) -> bool:
        try:
            os.kill(worker_pid, signal)
        except ProcessLookupError:
            logger.info("worker %s is gone already", worker_pid)
        except Exception:
            logger.exception("ending worker %s", worker_pid)
            return False
        return True


class _Pipe:
    """The reading end of a named pipe; its own writing end keeps it from ever being at its end.

    Args:
        path: The pipe.
    """

    def __init__(self, path: str) -> None:
        self._stack = ExitStack()
        self._reader = self._opened(path, os.O_RDONLY)
        self._writer = self._opened(path, os.O_WRONLY)
        self._rest = b""

    def _opened(self, path: str, how: int) -> int:
        fd = os.open(path, how | os.O_NONBLOCK | os.O_CLOEXEC)
        self._stack.callback(os.close, fd)
        return fd

    def __enter__(self) -> None:
        """Nothing more is to be done."""

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def wake(self) -> None:
        """Have who waits in ``read`` return."""
        with suppress(OSError):  # full: it will wake; closed: nobody waits
            os.write(self._writer, b"\n")

    def wait(self, seconds: float) -> None:
        """Wait for lines, so many seconds at most."""
        poller = select.poll()
        poller.register(self._reader, select.POLLIN)
        poller.poll(seconds * 1000)

    def read(self) -> list[bytes]:
        """Return all whole lines that are there."""
        with suppress(BlockingIOError):
            while data := os.read(self._reader, _PIECE):
                self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        return [line for line in lines if line]


def _requests(lines: Iterable[bytes]) -> Iterable[FileTimerRequest]:
    """The requests of lines; what makes no sense is logged and left out."""
    for line in lines:
        try:
            said = json.loads(line)
            pid, scope, when = int(said["pid"]), str(said["scope_id"]), said["expiration_time"]
            request = FileTimerRequest(pid, scope, float(when), int(said["signal"]))
        except (ValueError, TypeError, KeyError) as error:
            logger.warning("a timer request makes no sense: %r: %s", line, error)
            continue
        if pid > 0:  # kill(2) takes others for groups of processes, and -1 for all
            yield request
