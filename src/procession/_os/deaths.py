"""Which children have died, in the order of their deaths.

A pidfd becomes readable when its process ends, and an epoll instance hands out what became ready in
that order, where ``poll`` and ``select`` would sort by fd. Without pidfds all are asked; SIGCHLD then
says who was the first (``sigchld.py``), and the others of one wakeup stand in the order of their births.
"""

from __future__ import annotations

import os
import select

from procession._os.kernel import open_pidfd

_PEEK = os.WEXITED | os.WNOHANG | os.WNOWAIT


class Ending:
    """How a child ended: ``exitcode`` is the exit status, or -n for a death by signal n."""

    __slots__ = ("core_dumped", "exitcode", "pid")

    def __init__(self, pid: int, exitcode: int, core_dumped: bool) -> None:
        self.pid = pid
        self.exitcode = exitcode
        self.core_dumped = core_dumped


class DeathWatch:
    """Watches children of this process. Seeing a death does not reap it."""

    def __init__(self) -> None:
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        self._pids: dict[int, int] = {}
        self._unwatched: dict[int, None] = {}  # in the order of their births

    def fileno(self) -> int:
        """An fd that polls readable when ``deaths`` has something, or -1 if only SIGCHLD tells."""
        return self._epoll.fileno() if self._epoll else -1

    def fds(self) -> list[int]:
        """Every fd that this watch lives on."""
        return [self._epoll.fileno(), *self._pids] if self._epoll else []

    def add(self, pid: int) -> None:
        """Watch ``pid``, a child of this process that nobody has reaped."""
        fd = open_pidfd(pid) if self._epoll else None
        if fd is None or self._epoll is None:
            self._unwatched[pid] = None
            return
        self._pids[fd] = pid
        self._epoll.register(fd, select.EPOLLIN)

    def deaths(self, first: int = 0) -> list[Ending]:
        """Return the deaths since the last call, each once, in order.

        Args:
            first: The pid that SIGCHLD came for.
        """
        ready = self._epoll.poll(0) if self._epoll and self._pids else []
        endings = [self._ended(fd) for fd, _ in ready]
        unwatched = sorted(self._unwatched, key=lambda pid: pid != first)
        scanned = [ending for ending in map(peek, unwatched) if ending is not None]
        for ending in scanned:
            del self._unwatched[ending.pid]
        return endings + scanned

    def _ended(self, fd: int) -> Ending:
        pid = self._pids.pop(fd)
        # Closing alone would not do: a worker between fork and exec holds the description too, and
        # an fd leaves its epoll set with the last holder (epoll(7), Q6).
        if self._epoll:
            self._epoll.unregister(fd)
        os.close(fd)
        return peek(pid) or Ending(pid, 0, False)


def peek(pid: int) -> Ending | None:
    """Return how the child ``pid`` ended without reaping it, None while it lives or if not ours."""
    try:
        info = os.waitid(os.P_PID, pid, _PEEK)
    except ChildProcessError:
        return None
    return _ending(info) if info is not None else None


def peek_any() -> Ending | None:
    """Return some child that has ended and has not been reaped, None if there is none."""
    try:
        info = os.waitid(os.P_ALL, 0, _PEEK)
    except ChildProcessError:
        return None
    return _ending(info) if info is not None else None


def reap(pid: int) -> None:
    """Release the ended child ``pid``; nothing happens if it is not there to be released."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _ending(info: os.waitid_result) -> Ending:
    if info.si_code == os.CLD_EXITED:
        return Ending(info.si_pid, info.si_status, False)
    return Ending(info.si_pid, -info.si_status, info.si_code == os.CLD_DUMPED)
