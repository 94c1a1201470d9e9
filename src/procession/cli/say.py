"""Lines to the person at the terminal. A closed or full stderr never ends a run."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO


def say(text: str) -> None:
    """Write a line of procession's own to stderr."""
    write(f"procession: {text}\n")


def whisper(text: str) -> None:
    """Write a line that only a terminal gets, dimmed: it is no news to a log."""
    if sys.stderr is not None and sys.stderr.isatty():
        write(f"\x1b[2mprocession: {text}\x1b[0m\n")


def write(text: str) -> None:
    """Write a text to stderr as it is."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # gone, closed, or None
        return


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
