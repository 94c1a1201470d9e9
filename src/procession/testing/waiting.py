"""Waiting for what processes do, by events: that they are ready, have ended, have written."""

from __future__ import annotations

import os
import select
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from procession._os import proc
from procession._os.inotify import IN_MODIFY, Inotify
from procession._os.kernel import open_pidfd
from procession._os.members import members

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    class Pollable(Protocol):
        def fileno(self) -> int: ...


__all__ = ["Ready", "RollCall", "bearers", "describe", "stop", "wait_for_text", "wait_gone"]

_PATIENCE = 30.0  # seconds: generous, since a loaded machine is no reason for a test to fail
_GLANCE = 0.01  # seconds between looks where the kernel tells of nothing (no pidfd, no inotify)


class Ready(NamedTuple):
    """What a process of `procession.testing.children` said of itself.

    Attributes:
        name: Of the function.
        pid: Its own.
        others: The pids of what it has started and left.
    """

    name: str
    pid: int
    others: tuple[int, ...]


class RollCall:
    """A FIFO into which processes say that they are ready; a context manager.

    Example::

        with RollCall() as roll:
            process = subprocess.Popen(command(ignores_term, tell=roll.path))
            (ready,) = roll.wait(1)

    Attributes:
        path: The FIFO, to be given as ``tell``.
    """

    def __init__(self) -> None:
        self._directory = tempfile.mkdtemp(prefix="procession-roll-")
        self.path = os.path.join(self._directory, "roll")
        os.mkfifo(self.path)
        # O_RDWR: an open that waits for no writer, and no end of file between two of them (fifo(7)).
        self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        self._lines: list[str] = []
        self._rest = b""

    def __enter__(self) -> RollCall:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self, count: int, timeout: float = _PATIENCE) -> list[Ready]:
        """Return the next ``count`` ready lines, in the order in which they were said.

        Args:
            count: How many processes are waited for.
            timeout: Seconds.

        Raises:
            TimeoutError: Fewer came; the message holds those that did, which are not lost.
        """
        return [_parsed(line) for line in self.lines(count, timeout)]

    def lines(self, count: int, timeout: float = _PATIENCE) -> list[str]:
        """Return the next ``count`` lines as they are, without their ends; else as `wait`."""
        deadline = time.monotonic() + timeout
        while len(self._lines) < count:
            if not _readable(self._fd, deadline - time.monotonic()):
                raise TimeoutError(f"{count} lines expected in {timeout} s, got {self._lines}")
            *lines, self._rest = (self._rest + os.read(self._fd, 65536)).split(b"\n")
            self._lines += [line.decode(errors="replace") for line in lines]
        heard, self._lines = self._lines[:count], self._lines[count:]
        return heard

    def close(self) -> None:
        """Remove the FIFO."""
        os.close(self._fd)
        shutil.rmtree(self._directory)


def wait_gone(pids: Iterable[int], timeout: float = _PATIENCE) -> list[int]:
    """Wait until all of ``pids`` have ended; zombies have.

    Args:
        pids: Processes, of whomever.
        timeout: Seconds for all of them together.

    Returns:
        Those that have not.
    """
    deadline = time.monotonic() + timeout
    return [pid for pid in pids if not _gone(pid, deadline)]


def stop(pid: int, timeout: float = _PATIENCE) -> None:
    """Send SIGSTOP and wait until all threads of the process have stopped.

    ``kill()`` returns before that (signal(7)): for some microseconds the process goes on, and may see
    what was done after. It is sent again until then: somebody else may have continued the process, as a
    launcher does its guardian after a second.

    Args:
        pid: A process, of whomever.
        timeout: Seconds.

    Raises:
        ProcessLookupError: There is no such process.
        TimeoutError: It has not stopped.
    """
    os.kill(pid, signal.SIGSTOP)
    if not _seen(lambda: _at_rest(pid) or _stop_again(pid), time.monotonic() + timeout):
        raise TimeoutError(f"{describe(pid)} has not stopped after {timeout} s")


def wait_for_text(path: str | os.PathLike[str], text: str, timeout: float = _PATIENCE) -> str:
    """Wait until a file that others write to holds ``text``.

    Args:
        path: The file; it may come later.
        text: What is waited for.
        timeout: Seconds.

    Returns:
        All that the file holds.

    Raises:
        TimeoutError: The text has not come; the message holds what the file has.
    """

    def read() -> str:
        try:
            with open(path, errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    deadline = time.monotonic() + timeout
    with _News(os.fspath(path)) as news:
        while text not in (found := read()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} holds no {text!r} after {timeout} s: {found!r}")
            news.sleep(deadline - time.monotonic())
    return found


def bearers(run_id: str) -> list[int]:
    """Return the living processes that a run has started, by its lock or ``PROCESSION_RUN_ID``.

    Args:
        run_id: The run's id; every process on the host that can be looked into is.
    """
    return list(proc.living(members(run_id).pids))


def describe(pid: int) -> str:
    """Return a process in words: its pid, state and command line; for messages."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        words = ""
    stat = proc.stat(pid)
    if stat is None:
        return f"{pid} (gone)"
    return f"{pid} {stat.state} {words or stat.name}"


def _parsed(line: str) -> Ready:
    word, name, pid, *others = line.split()
    if word != "ready":
        raise ValueError(f"not a ready line: {line!r}")
    return Ready(name, int(pid), tuple(map(int, others)))


def _at_rest(pid: int) -> bool:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return True  # it has gone
    lines = (proc.read(f"/proc/{pid}/task/{tid}/stat") for tid in threads)
    return all(proc.parse_stat(line).state in "TtZX" for line in lines if line)


def _stop_again(pid: int) -> bool:
    with suppress(ProcessLookupError):  # it has gone, which the next look sees
        os.kill(pid, signal.SIGSTOP)
    return False


def _gone(pid: int, deadline: float) -> bool:
    pidfd = open_pidfd(pid)
    if pidfd is None:
        return _seen(lambda: pid not in proc.living([pid]), deadline)
    try:
        return _readable(pidfd, deadline - time.monotonic())
    finally:
        os.close(pidfd)


def _seen(condition: Callable[[], bool], deadline: float) -> bool:
    while not condition():
        if time.monotonic() > deadline:
            return False
        _pause(_GLANCE)
    return True


def _readable(fd: Pollable | int, seconds: float) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(max(0.0, seconds) * 1000))


def _pause(seconds: float) -> None:
    select.poll().poll(max(0.0, seconds) * 1000)  # for ever, were it negative


class _News:
    """Sleeps until a file has been written to, by inotify where that is to be had."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._watches = False
        try:
            self._inotify: Inotify | None = Inotify()
        except OSError:
            self._inotify = None
        self._watch()

    def __enter__(self) -> _News:
        return self

    def __exit__(self, *_: object) -> None:
        if self._inotify is not None:
            self._inotify.close()

    def sleep(self, seconds: float) -> None:
        if not self._watches:
            self._watch()  # the file may have come; who asks reads it once more before he sleeps again
            _pause(min(seconds, _GLANCE))
        elif self._inotify is not None and _readable(self._inotify, min(seconds, 1.0)):
            self._inotify.read()

    def _watch(self) -> None:
        with suppress(OSError):
            if self._inotify is not None:
                self._inotify.watch(self._path, IN_MODIFY)
                self._watches = True
