"""Being woken when a child has ended, and told of which one where no pidfd is to be had.

Of several SIGCHLD that wait the kernel keeps the first, with the pid of its child (signal(7), on standard
signals; legacy_queue() in kernel/signal.c). A file of signals hands that pid out (signalfd(2)); a
handler of Python's is not told of it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found, unused-ignore]  # as the package does
import os
import sys

from procession._os.kernel import Function, open_pidfd
from procession._os.lean import IGNORE, SIGCHLD

_INFO = 128  # bytes of struct signalfd_siginfo, in which the code stands at 8 and the pid at 12
_MASK = 128  # bytes of a sigset_t
_WORD = 8 if sys.maxsize > 2**32 else 4  # bytes of the longs that it is made of
_ENDED = (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED)


class ByHandler:
    """Wakes, for who has pidfds.

    Attributes:
        fds: What it lives on; the first is readable while something waits to be taken.
    """

    def __init__(self) -> None:
        self.fds = os.pipe()
        for fd in self.fds:
            os.set_blocking(fd, False)
        _signal.set_wakeup_fd(self.fds[1], warn_on_full_buffer=False)
        _signal.signal(SIGCHLD, _nothing)

    def take(self) -> tuple[bool, int]:
        """Return whether a child has ended or been stopped since the last call, and 0."""
        try:
            return bool(os.read(self.fds[0], 4096)), 0
        except BlockingIOError:
            return False, 0


class ByFile:
    """Wakes, and says who was first.

    Attributes:
        fds: As of ``ByHandler``.

    Raises:
        OSError: This system has no such files, or no descriptor is left.
    """

    def __init__(self) -> None:
        mask = (1 << (SIGCHLD - 1)).to_bytes(_WORD, sys.byteorder).ljust(_MASK, b"\0")
        self.fds = (Function.named("signalfd").ask(-1, mask, os.O_NONBLOCK | os.O_CLOEXEC),)
        _signal.pthread_sigmask(_signal.SIG_BLOCK, (SIGCHLD,))

    def take(self) -> tuple[bool, int]:
        """Return likewise, and the pid of the first that has ended; 0 where that is not known."""
        try:
            info = os.read(self.fds[0], _INFO)
        except BlockingIOError:
            return False, 0
        code, pid = (int.from_bytes(info[at : at + 4], sys.byteorder) for at in (8, 12))
        return True, pid if code in _ENDED else 0


def listen() -> ByHandler | ByFile:
    """Listen for the ends of children from now on."""
    pidfd = open_pidfd(os.getpid())
    if pidfd is not None:
        os.close(pidfd)
        return ByHandler()
    try:
        return ByFile()
    except OSError:
        return ByHandler()


def leave_reaping_to_kernel(leave: bool) -> None:
    """Have ended children vanish by themselves, unseen, or wake us again (wait(2), NOTES on SIG_IGN)."""
    _signal.signal(SIGCHLD, IGNORE if leave else _nothing)


def _nothing(_signum: int, _frame: object) -> None:
    """Do nothing: a handler must be set for the wakeup fd to be written, that is all."""
