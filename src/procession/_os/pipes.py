"""Writing to a pipe that others share, in long pieces and without ever waiting in it.

``O_NONBLOCK`` belongs to the open file description, which a shell and all its jobs share; a description
of one's own (open(2) of ``/proc/self/fd/N``) has flags of its own.
"""

from __future__ import annotations

import os
import select
import sys

_F_SETPIPE_SZ, _F_GETPIPE_SZ = 1031, 1032  # include/uapi/linux/fcntl.h
_FIONREAD = 0x541B  # include/uapi/asm-generic/ioctls.h: bytes that wait to be read
_WIDE = 1024 * 1024  # what anybody may ask for, by default (/proc/sys/fs/pipe-max-size)
_FLAGS = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC


def reopened(fd: int) -> int | None:
    """Return a non-blocking description of the same pipe; None where that cannot be had.

    It cannot of another user's pipe, of a pipe that nobody reads, and without /proc. It is
    not wanted of a packet pipe (pipe2(2), O_DIRECT), whose mode belongs to the description too.
    """
    from fcntl import F_GETFL, fcntl

    try:
        if fcntl(fd, F_GETFL) & getattr(os, "O_DIRECT", 0):
            return None
        return os.open(f"/proc/self/fd/{fd}", _FLAGS)
    except OSError:
        return None


def room_in(fd: int) -> int:
    """How many bytes to write at once into a pipe, so that nobody else's get between them.

    Up to ``PIPE_BUF`` that is certain (pipe(7)). Beyond, pipe_write() keeps the pipe's lock until all is
    in, if there is room: twice as much as is returned, lest somebody writes between the look and the
    write.
    """
    from fcntl import fcntl, ioctl

    try:
        size = fcntl(fd, _F_GETPIPE_SZ)
        waiting = int.from_bytes(ioctl(fd, _FIONREAD, b"\0\0\0\0"), sys.byteorder)
    except OSError:  # no pipe, or another system's
        return select.PIPE_BUF
    # A pipe is a ring of pages, and a page that holds the end of one write may be next to empty.
    return max(select.PIPE_BUF, size // 2 - waiting)


def widen(fd: int) -> None:
    """Give a pipe its greatest size, so that writer and reader change places less often."""
    from fcntl import fcntl

    try:
        if fcntl(fd, _F_GETPIPE_SZ) < _WIDE:
            fcntl(fd, _F_SETPIPE_SZ, _WIDE)
    except OSError:  # the user has too many wide pipes already, or another system
        return
