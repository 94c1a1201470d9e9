"""The launcher's side of a scribe: ranks whose output goes through a pipe.

The launcher holds the reading ends as well. So the death of a scribe is nobody's SIGPIPE: another one
goes on with the same pipes and files. docs/why/pipes.md says why it is a process of its own.
"""

from __future__ import annotations

import fcntl
import math
import os
import select
import signal
import socket
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from procession._log import Logger
from procession._os import lean
from procession._os.deaths import peek, reap
from procession._os.kernel import open_pidfd
from procession._os.vitals import is_runnable

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = Logger(__name__)

_FIRST = 4  # the fd of the first pipe in the scribe
_PATIENCE = 5.0  # seconds that a scribe may take without progress at the end
_GLANCE_MS = 10  # between looks at its end, where there are no pidfds
_SUCCESSORS = 5  # a scribe that dies again and again has a reason that does not go away
_PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "scribe.py")


class Piped(NamedTuple):
    """A stream that goes through a pipe.

    Attributes:
        path: Its file.
        file: The file's fd.
        policy: ``block`` or ``drop``.
    """

    path: str
    file: int
    policy: str


class Scribing:
    """The pipes of a gang, and the scribe that empties them.

    Args:
        streams: What goes through pipes; their fds are copied.

    Raises:
        OSError: A pipe or the process cannot be had.
    """

    def __init__(self, streams: Sequence[Piped]) -> None:
        self._streams = streams
        self._fds: list[int] = []  # pipe and file of each stream in turn
        self._finished = False
        self._said = b""
        self._left: float = math.inf  # bytes that the scribe has not written, as far as it has said
        self._dropped: list[int] = []
        self._pid = 0
        self._successors = _SUCCESSORS
        with ExitStack() as opened:
            self.ends = [self._open_pipe(stream, opened) for stream in streams]
            self._start()
            self._opened = opened.pop_all()

    @property
    def is_over(self) -> bool:
        """True once nothing is written any more."""
        return self._finished

    def fileno(self) -> int:
        """Return the descriptor that is readable when the scribe has something to say, or has ended."""
        return self._control.fileno()

    def close_writing_ends(self) -> None:
        """The workers have them."""
        for end in self.ends:
            os.close(end)
        self.ends = []

    def listen(self) -> None:
        """Hear what the scribe says; one that was killed gets a successor, and `fileno` is another."""
        try:
            heard = self._control.recv(65536)
        except BlockingIOError:
            return
        self._hear(heard)
        if heard or self._finished:
            return
        logger.warning(
            "the process that writes the piped output was killed; another goes on. "
            "What it had read and not written is lost: up to 1 MiB of a stream, 8 MiB with pipe-drop"
        )
        self._control.close()
        self._reap(_PATIENCE)
        self._successors -= 1
        if self._successors:
            self._start()
        else:
            logger.error("no more of them are started: the workers get EPIPE for what they write")
            self._opened.close()
            self._finished = True

    def finish(self) -> dict[str, int]:
        """Have the scribe write all that is left, and end; all writers are gone.

        Returns:
            Path and number of bytes lost, for the files where there are any. A file system that takes
            nothing for five seconds is waited for no longer, which is said.
        """
        if self._finished:
            return {}
        self._finished = True
        self.close_writing_ends()
        try:
            self._control.send(b"end")
            done = self._wait()
        except OSError:  # killed, after the last time that it was looked at
            done = True
        self._end(done)
        return self._lost()

    def _wait(self) -> bool:
        """Wait for the scribe's end; False if it makes no progress, and not for want of a processor."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        least, until = self._left, time.monotonic() + _PATIENCE
        while True:
            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                if not is_runnable(self._pid):
                    return False
                until = time.monotonic() + _PATIENCE
                continue
            heard = self._control.recv(65536)
            if not heard:
                return True
            self._hear(heard)
            if self._left < least:
                least, until = self._left, time.monotonic() + _PATIENCE

    def _hear(self, heard: bytes) -> None:
        self._said += heard
        *_, whole, self._said = (b"", *self._said.split(b"\n"))
        if whole:
            left, *dropped = map(int, whole.split())
            self._left, self._dropped = left, dropped

    def _end(self, done: bool) -> None:
        if not done:
            os.kill(self._pid, signal.SIGKILL)
            paths = ", ".join(stream.path for stream in self._streams[:3])
            logger.warning(
                "the last output%s was not written to %s%s: the disk took no byte for %g s",
                "" if self._left == math.inf else f", {self._left} bytes,",
                *(paths, ", ..." if len(self._streams) > 3 else "", _PATIENCE),
            )
        self._control.close()
        self._opened.close()
        self._reap(_PATIENCE)

    def _reap(self, patience: float) -> None:
        """Wait for the end of the scribe; one that cannot die (D state) is left to the system."""
        pidfd = open_pidfd(self._pid)
        if pidfd is not None:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            poll.poll(patience * 1000)
            os.close(pidfd)
        else:  # its end of the control socket is closed a moment before it can be reaped
            until = time.monotonic() + patience
            while peek(self._pid) is None and time.monotonic() < until:
                select.poll().poll(_GLANCE_MS)
        reap(self._pid)

    def _lost(self) -> dict[str, int]:
        lost = zip(self._streams, self._dropped, strict=False)
        return {stream.path: count for stream, count in lost if count}

    def _open_pipe(self, stream: Piped, opened: ExitStack) -> int:
        reading, writing = os.pipe()
        opened.callback(os.close, reading)
        file = fcntl.fcntl(stream.file, fcntl.F_DUPFD_CLOEXEC, 3)
        opened.callback(os.close, file)
        self._fds += (reading, file)
        return writing

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ExitStack() as lifted:
            lifted.callback(theirs.close)
            floor = _FIRST + len(self._fds)
            fds = [
                fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, floor)
                for fd in (theirs.fileno(), *self._fds)
            ]
            for fd in fds:
                lifted.callback(os.close, fd)
            policies = [stream.policy for stream in self._streams]
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", _PROGRAM, str(_FIRST), *policies],
                {},
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, 3 + n) for n, fd in enumerate(fds)],
                setsid=True,
                setsigmask=lean.DEAF,
            )
        self._control = ours
