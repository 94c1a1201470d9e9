"""Lines to the person at the terminal. A closed or full stderr never ends a run."""

from __future__ import annotations

import sys


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
