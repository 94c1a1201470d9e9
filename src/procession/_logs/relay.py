"""The relay: a process between the terminal of one rank and the terminal of the person before it.

``python -I -S …/_logs/relay.py`` has the launcher's stdin and stdout, its control socket as fd 3, the
master of the rank's terminal as fd 4, the rank's log file as fd 5, and as fd 6 a pipe that ends once the
terminal is the rank's. What the rank writes goes to the file and to stdout; what is typed goes to the
rank, Ctrl-C and its kin as the bytes that they are, for the rank's own terminal to make signals of. It
waits for the end of the pipe: before that the terminal has nobody to signal, and a Ctrl-C would be lost.
The person's terminal is put back when the rank's has no writer left, when the launcher says so, and when
the launcher dies. Standard library only.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STDIN, _STDOUT, _CONTROL, _MASTER, _FILE, _TAKING = 0, 1, 3, 4, 5, 6
_PIECE = 16 * 1024
_MOST_TYPED = 4096  # bytes that wait for a rank that does not read: what its terminal holds too
_LAST_WORD_MS = 200  # once the launcher is done with the rank
_END_OF_INPUT = b"\x04"  # VEOF, Ctrl-D

# Places in what termios.tcgetattr returns (termios(3)).
_IFLAG, _OFLAG, _LFLAG, _CC = 0, 1, 3, 6


def transparent(mode: list[Any]) -> list[Any]:
    """The mode in which every key is a byte for the rank; output is shown as before. Pure."""
    changed = [*mode[:_CC], list(mode[_CC])]
    changed[_IFLAG] &= ~(termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON)
    changed[_LFLAG] &= ~(termios.ECHO | termios.ICANON | termios.ISIG | termios.IEXTEN)
    changed[_CC][termios.VMIN], changed[_CC][termios.VTIME] = 1, 0
    return changed


def copy_size(source: int, target: int) -> None:
    """Give one terminal the size of another; the kernel tells its programs (SIGWINCH)."""
    try:
        fcntl.ioctl(target, termios.TIOCSWINSZ, fcntl.ioctl(source, termios.TIOCGWINSZ, b"\0" * 8))
    except OSError:  # one of them is no terminal, or gone
        return


class Relay:
    """Passes bytes on in both directions until the rank's terminal has no writer."""

    def __init__(self) -> None:
        self._typed = b""  # and not yet taken by the rank's terminal
        self._reads_input = True
        self._taken = False  # the terminal, by the rank
        self._told = False  # nothing more is to be heard of the launcher
        self._resized, waker = os.pipe()
        for fd in (waker, _MASTER):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGWINCH, lambda *_: None)

    def run(self) -> None:
        """Pass on until it is over."""
        copy_size(_STDOUT, _MASTER)
        while self._turn():
            pass

    def _turn(self) -> bool:
        poll = select.poll()
        passes_on = self._taken and self._typed
        poll.register(_MASTER, select.POLLIN | (select.POLLOUT if passes_on else 0))
        poll.register(self._resized, select.POLLIN)
        if self._reads_input and len(self._typed) < _MOST_TYPED:
            poll.register(_STDIN, select.POLLIN)
        if not self._taken:
            poll.register(_TAKING, select.POLLIN)
        if not self._told:
            poll.register(_CONTROL, select.POLLIN)
        ready = dict(poll.poll(_LAST_WORD_MS if self._told else None))
        if not ready:
            return False  # what still has the rank's terminal open was not the rank
        if self._resized in ready:
            os.read(self._resized, 4096)
            copy_size(_STDOUT, _MASTER)
        if _TAKING in ready:
            self._taken = True  # or nobody is left who could
        if _STDIN in ready:
            self._read_typed()
        if ready.get(_MASTER, 0) & select.POLLOUT:
            self._pass_on_typed()
        if _CONTROL in ready:
            self._told = True  # the launcher is done with the rank, or gone: the rank's end is near
        return self._show() if ready.get(_MASTER, 0) & ~select.POLLOUT else True

    def _read_typed(self) -> None:
        try:
            typed = os.read(_STDIN, _PIECE)
        except OSError:  # a background job, or a terminal that is gone
            typed = b""
        self._reads_input = bool(typed)
        self._typed += typed or _END_OF_INPUT

    def _pass_on_typed(self) -> None:
        try:
            self._typed = self._typed[os.write(_MASTER, self._typed) :]
        except OSError:  # full again, or gone
            return

    def _show(self) -> bool:
        """Pass on what the rank has written; False once nobody is left who could."""
        try:
            data = os.read(_MASTER, _PIECE)
        except BlockingIOError:
            return True
        except OSError:  # EIO: its last writer is gone (pty(7))
            return False
        for fd in (_FILE, _STDOUT):
            _write(fd, data)
        return bool(data)


def _write(fd: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError:  # a full disk or a console that is gone: the other still gets it
        return


def main() -> None:
    """Be the relay."""
    before = termios.tcgetattr(_STDIN) if os.isatty(_STDIN) else None
    try:
        if before is not None:
            termios.tcsetattr(_STDIN, termios.TCSADRAIN, transparent(before))
        Relay().run()
    finally:
        if before is not None:
            termios.tcsetattr(_STDIN, termios.TCSADRAIN, before)


if __name__ == "__main__":
    main()
    os._exit(0)
