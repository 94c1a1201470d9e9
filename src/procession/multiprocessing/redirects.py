"""Sends this process's stdout or stderr to a file for a while, on the level of file descriptors.

What Python prints, what C code prints and what child processes print all go to the file. Both
buffers, Python's and the C library's, are flushed where the stream changes its direction, so each
byte ends where the stream pointed when it was written.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Iterator
    from typing import Any

__all__ = ["get_libc", "redirect", "redirect_stderr", "redirect_stdout"]

_FD = {"stdout": 1, "stderr": 2}


def get_libc() -> ctypes.CDLL:
    """The C library that this process has loaded already: glibc, musl, or another system's."""
    import ctypes

    return ctypes.CDLL(None)


@contextmanager
def redirect(std: str, to_file: str) -> Iterator[None]:
    """Send a standard stream to a file while the block runs.

    The process's fd 1 or 2 is redirected, and with it ``sys.stdout`` or ``sys.stderr``: where that
    object writes to another fd, this fd is redirected too; where it has none (a ``StringIO``, a
    notebook's), a stream on fd 1 or 2 stands in for it. Blocks nest. The streams belong to the
    whole process: all threads write to the file.

    Usage::

        with redirect("stdout", "/tmp/stdout.log"):
            print("from python")
            get_libc().puts(b"from c")
            os.system("echo from a child process")

    Args:
        std: "stdout" or "stderr".
        to_file: Emptied if it exists; its directory must exist.

    Raises:
        ValueError: Another ``std``.
        OSError: The file cannot be opened or the stream is closed (all is as it was), or what was
            printed cannot be written to the file (at the end, with the stream put back).
    """
    if std not in _FD:
        raise ValueError(f"unknown standard stream <{std}>, must be one of {set(_FD)}")
    with ExitStack() as undo:
        os.fstat(_FD[std])  # else the file itself may get the number of a closed stream
        target = os.open(to_file, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
        undo.callback(os.close, target)
        _flush(std)
        fd = _fileno(getattr(sys, std))
        for each in {_FD[std], _FD[std] if fd is None else fd}:
            _point(each, target, undo)
        if fd is None:
            _stand_in(std, undo)
        undo.callback(_flush, std)
        yield


redirect_stdout = partial(redirect, "stdout")
redirect_stderr = partial(redirect, "stderr")


def _fileno(stream: Any) -> int | None:
    """The fd that a Python stream writes to."""
    try:
        fd = stream.fileno()
    except (
        AttributeError,
        OSError,
        ValueError,
    ):  # None or any object; UnsupportedOperation; closed
        return None
    return fd if isinstance(fd, int) else None


def _flush(std: str) -> None:
    """Write out what Python and the C library hold back."""
    for stream in (getattr(sys, std), getattr(sys, f"__{std}__")):
        if _fileno(stream) is not None:
            stream.flush()
    get_libc().fflush(None)


def _point(fd: int, target: int, undo: ExitStack) -> None:
    """Make FD a copy of TARGET, and what it was on the way back."""
    saved, inheritable = os.dup(fd), os.get_inheritable(fd)
    undo.callback(os.close, saved)
    undo.callback(os.dup2, saved, fd, inheritable)
    os.dup2(target, fd, inheritable)


def _stand_in(std: str, undo: ExitStack) -> None:
    """Put a stream on the real fd in the place of one that has no fd."""
    theirs = getattr(sys, std)
    ours = open(  # noqa: SIM115 - closed by the stack
        _FD[std],
        "w",
        buffering=1,
        encoding=getattr(theirs, "encoding", None) or "utf-8",
        errors="backslashreplace",
        closefd=False,
    )
    undo.callback(setattr, sys, std, theirs)
    undo.enter_context(ours)
    setattr(sys, std, ours)
