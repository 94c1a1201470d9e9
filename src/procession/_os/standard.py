"""The numbers of stdin, stdout and stderr."""

from __future__ import annotations

import os

__all__ = ["fill_standard"]


def fill_standard() -> list[int]:
    """Put /dev/null where 0, 1 or 2 is closed.

    The next thing that we open would stand there, and be given to workers as their stream.

    Returns:
        What was closed, and is open now.
    """
    filled = []
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            filled.append(os.open(os.devnull, os.O_RDWR))  # the lowest free number, which is this
    return filled
