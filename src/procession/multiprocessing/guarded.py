"""Handles on workers that a guardian started, shaped as ``subprocess.Popen`` users expect."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from procession._guardian.sweep import send
from procession.multiprocessing.subprocess_handler import SubprocessHandler

if TYPE_CHECKING:
    from procession._loop.gang import Gang
    from procession._loop.worker import Worker

__all__ = ["GuardedHandler", "GuardedProcess"]


class GuardedProcess:
    """A worker's process as ``subprocess.Popen`` shows one; its guardian reaps it."""

    def __init__(self, gang: Gang, worker: Worker) -> None:
        self._gang = gang
        self._worker = worker

    @property
    def pid(self) -> int:
        """The process id."""
        return self._worker.pid

    @property
    def returncode(self) -> int | None:
        """The exit code as last seen; -n for signal n, None while the process lives."""
        return self._worker.exitcode

    def poll(self) -> int | None:
        """Look whether the process has ended, and return ``returncode``."""
        self._gang.look(self._worker, 0)
        return self._worker.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the process and return its exit code.

        Args:
            timeout: Seconds; None waits for ever.

        Raises:
            subprocess.TimeoutExpired: It still runs.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        if not self._gang.look(self._worker, deadline):
            from subprocess import TimeoutExpired

            raise TimeoutExpired(str(self.pid), timeout or 0)
        return self._worker.exitcode or 0

    def send_signal(self, sig: int) -> None:
        """Send ``sig`` unless the process has ended."""
        if self.poll() is None:
            send(self.pid, sig)


class GuardedHandler(SubprocessHandler):
    """The handler of a worker that runs already."""

    def __init__(self, gang: Gang, worker: Worker) -> None:
        self._guarded = GuardedProcess(gang, worker)
        super().__init__("", (), {}, None, None, worker.rank, None)

    def _popen(self, args: tuple[str, ...], env: dict[str, str]) -> GuardedProcess:  # noqa: ARG002
        return self._guarded
