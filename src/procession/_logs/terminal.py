"""The launcher's side of a relay: one rank with a terminal of its own.

Whoever of the two dies, the other puts the person's terminal back as it was.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import sys
import termios
from contextlib import ExitStack, suppress
from typing import Any

from procession._logs.relay import copy_size
from procession._os import lean
from procession._os.vitals import is_runnable

_OFLAG = 1  # its place in what termios.tcgetattr returns
_PATIENCE_MS = 5000  # for a relay to show what the rank has written last
_PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "relay.py")


class Terminal:
    """A pseudoterminal, and the relay between it and the launcher's own.

    Attributes:
        slave: The rank's end of it, -1 once the rank has it.
        taking: The end of a pipe that the rank closes when the terminal is its controlling one; until
            all its copies are closed the relay keeps what is typed. -1 as ``slave``.

    Args:
        file: The fd of the rank's log file, which gets all that is written to the terminal.

    Raises:
        OSError: There is no pseudoterminal or process to be had.
    """

    def __init__(self, file: int) -> None:
        self._before: list[Any] | None = termios.tcgetattr(0) if os.isatty(0) else None
        self._pid = 0
        self.taking = -1
        # The relay alone keeps the master: with it the terminal ends.
        with ExitStack() as opened, ExitStack() as on_failure:
            master, self.slave = os.openpty()
            opened.callback(os.close, master)
            on_failure.callback(self.hand_over)
            taken, self.taking = os.pipe()
            opened.callback(os.close, taken)
            _leave_newlines(self.slave)
            copy_size(1, self.slave)  # the rank may look before the relay does
            self._control = self._start(master, file, taken)
            on_failure.pop_all()

    def hand_over(self) -> None:
        """The worker has its ends, or there is none: close ours."""
        for fd in (self.slave, self.taking):
            if fd >= 0:
                os.close(fd)
        self.slave = self.taking = -1

    def finish(self) -> None:
        """See all shown that the rank has written, and the person's terminal put back."""
        if not self._pid:
            return
        self.hand_over()
        with suppress(OSError):  # it has ended with the rank
            self._control.send(b"end")
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        while not (ended := poll.poll(_PATIENCE_MS)) and is_runnable(self._pid):
            continue  # it writes the file too, and only waits for a processor
        if not ended:
            os.kill(self._pid, signal.SIGKILL)
            poll.poll(_PATIENCE_MS)
        self._control.close()
        os.waitpid(self._pid, 0)
        self._pid = 0
        self._put_back()

    def _put_back(self) -> None:
        if self._before is None or termios.tcgetattr(0) == self._before:
            return
        # Blocked, SIGTTOU does not keep a background job from it (tcsetattr(3)).
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            termios.tcsetattr(0, termios.TCSADRAIN, self._before)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _start(self, master: int, file: int, taken: int) -> socket.socket:
        ours, theirs = socket.socketpair()
        with ExitStack() as lifted:
            lifted.callback(theirs.close)
            fds = [
                fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 7)
                for fd in (theirs.fileno(), master, file, taken)
            ]
            for fd in fds:
                lifted.callback(os.close, fd)
            # In the launcher's own process group: only that may read from a terminal (SIGTTIN).
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", _PROGRAM],
                {},
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, 3 + n) for n, fd in enumerate(fds)],
                setsigmask=_STOPPING,
            )
        return ours


_STOPPING = (
    *lean.DEAF,
    *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
)


def _leave_newlines(slave: int) -> None:
    """The person's terminal makes the carriage returns: the file shall have what was written."""
    mode = termios.tcgetattr(slave)
    mode[_OFLAG] &= ~termios.OPOST
    termios.tcsetattr(slave, termios.TCSANOW, mode)
