"""Reading files that workers left behind: whatever lies at the path, a reader neither hangs nor hogs."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class NotARegularFileError(OSError):
    """What lies at the path is a directory, a FIFO, a socket or a device."""


class RegularFile(NamedTuple):
    """An open regular file.

    Attributes:
        fd: Its descriptor, for reading.
        size: Bytes at the time of opening.
        mtime_ns: Wall-clock ns of the last write.
    """

    fd: int
    size: int
    mtime_ns: int

    def read(self, offset: int, count: int) -> bytes:
        """At most `count` bytes from `offset`; fewer only where the file ends."""
        parts: list[bytes] = []
        while count > 0 and (part := os.pread(self.fd, count, offset)):
            parts.append(part)
            offset, count = offset + len(part), count - len(part)
        return b"".join(parts)


@contextmanager
def regular_file(path: str) -> Iterator[RegularFile]:
    """Open a file for reading, without a wait.

    O_NONBLOCK: open(2) of a FIFO that nobody writes would else sleep for ever.

    Raises:
        NotARegularFileError: It is no regular file; `IsADirectoryError` for a directory.
        OSError: It cannot be opened.
        ValueError: The path holds a NUL or cannot be encoded.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        _check_regular(path, status.st_mode)
        yield RegularFile(fd, status.st_size, status.st_mtime_ns)
    finally:
        os.close(fd)


def _check_regular(path: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(path)
    if not stat.S_ISREG(mode):
        raise NotARegularFileError(path)
