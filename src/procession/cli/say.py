"""Lines to the person at the terminal. A closed or full stderr never ends a run."""

from __future__ import annotations

import os
import select
import sys
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO


PATIENCE = 5.0
_TERMINAL_PIECE = 256  # bytes


def say(text: str, patience: float = PATIENCE) -> None:
    """Write a line of procession's own to stderr; see ``write``."""
    write(f"procession: {text}\n", patience)


def whisper(text: str) -> None:
    """Write a line that only a terminal gets, dimmed: it is no news to a log."""
    if sys.stderr is not None and sys.stderr.isatty():
        write(f"\x1b[2mprocession: {text}\x1b[0m\n")


def write(text: str, patience: float = PATIENCE) -> None:
    """Write a text to stderr as it is.

    Args:
        text: The text.
        patience: Seconds after which a stderr that takes nothing (Ctrl-S, a pipe that nobody reads)
            is given up: a run must end, and its workers be stopped, whoever listens.
    """
    try:
        fd = sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):  # closed, None, or another kind of object
        _write_to_object(text)
        return
    # Who has not imported it tails nothing; what is no terminal has no bottom.
    tail = sys.modules.get("procession._logs.tail") if os.isatty(fd) else None
    with suppress(OSError):
        # Not waited for with the tail at rest: it may have other places to write to.
        if tail and not _poller(fd).poll(patience * 1000):
            return
        with tail.console_cleared(patience) if tail else nullcontext():
            _write_while_it_takes(fd, text.encode(errors="backslashreplace"), patience)


def _write_to_object(text: str) -> None:
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _write_while_it_takes(fd: int, data: bytes, patience: float) -> None:
    poller = _poller(fd)
    # POLLOUT promises room for PIPE_BUF bytes in a pipe (pipe(7)); a terminal promises less.
    size = _TERMINAL_PIECE if os.isatty(fd) else select.PIPE_BUF
    while data and poller.poll(patience * 1000):
        data = data[os.write(fd, data[:size]) :]


def _poller(fd: int) -> select.poll:
    poller = select.poll()
    poller.register(fd, select.POLLOUT)
    return poller


def columns(most: int = 79, least: int = 30) -> int:
    """The columns that a text may take: those of a narrow terminal, ``most`` of any other stderr."""
    try:
        width = os.get_terminal_size(sys.stderr.fileno()).columns
    except (
        OSError,
        ValueError,
        AttributeError,
    ):  # no terminal; closed, None, another kind of object
        return most
    return max(least, min(most, width - 1)) if width else most


def let_go_of_lost_streams() -> None:
    """Have the end of the process not trip over a terminal or pipe that is gone.

    Python flushes both streams at its end, and makes the exit status 120 if it cannot.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # gone, closed, or None
            _discard_what_is_left(stream)


def _discard_what_is_left(stream: TextIO | None) -> None:
    if stream is None or stream.closed:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
