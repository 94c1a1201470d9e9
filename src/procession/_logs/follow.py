"""One log file of one view: where it is, how far it has been read, what has become of it."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from procession._log import Logger

if TYPE_CHECKING:
    from procession._logs.lines import LineAssembler
    from procession._logs.sinks import Sink

logger = Logger(__name__)

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


class Followed:
    """A file that is read by offset while others append to it.

    What can become of it, and what then happens:

    - not there yet: waited for, for ever;
    - a directory, a device, unreadable: said once, and waited for as if it were not there;
    - shorter than what has been read (truncated): read again from its beginning;
    - another file under its name (replaced): this one is read to its end, then the other;
    - deleted: read on, for the writer has it open as well.

    Args:
        path: The file.
        lines: What makes lines of its bytes.
        sink: Where they go.
    """

    __slots__ = ("_complaint", "_identity", "end", "fd", "lines", "offset", "path", "sink")

    def __init__(self, path: str, lines: LineAssembler, sink: Sink) -> None:
        self.path = path
        self.lines = lines
        self.sink = sink
        self.fd = -1
        self.offset = 0
        self.end: int | None = None  # where a closing view stops reading
        self._identity: tuple[int, int] | None = None  # of the file opened last
        self._complaint = ""

    @property
    def is_open(self) -> bool:
        """True while there is a file to read."""
        return self.fd >= 0

    def open(self) -> bool:
        """Open what is under the path now, to be read from its beginning; False if that cannot be."""
        try:
            # Not before it is known to be a file: to open a device or a FIFO is an act.
            if not stat.S_ISREG(os.stat(self.path).st_mode):
                return self._complain("not a regular file")
            self.fd = os.open(self.path, _FLAGS)
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            return self._complain(getattr(error, "strerror", None) or str(error))
        status = os.fstat(self.fd)
        self._identity, self.offset = (status.st_dev, status.st_ino), 0
        return True

    def read(self, buffer: bytearray) -> int:
        """Read the next bytes into ``buffer``; return how many, 0 at the end or where it fails."""
        try:
            count = os.preadv(self.fd, [buffer], self.offset)
        except OSError as error:
            self._complain(error.strerror or str(error))
            return 0
        self.offset += count
        return count

    def size(self) -> int:
        """Return the file's size now, -1 where it cannot be told."""
        try:
            return os.lseek(self.fd, 0, os.SEEK_END)
        except OSError:
            return -1

    def has_news(self) -> bool:
        """True if the file's size is not what has been read of it."""
        return self.size() not in {self.offset, -1}

    def is_truncated(self) -> bool:
        """True if the file has become shorter than what has been read of it."""
        return -1 < self.size() < self.offset

    def is_replaced(self) -> bool:
        """True if another regular file is under the path now."""
        try:
            status = os.stat(self.path)
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) != self._identity

    def begin_again(self) -> None:
        """Read from the beginning; what is held of the last line is shown, and that line ended."""
        self.sink.put(self.lines, self.lines.flush())
        self.sink.end_line(self.lines)
        self.lines.restart()
        self.offset = 0
        if self.end is not None:
            self.end = self.size()

    @property
    def is_read_out(self) -> bool:
        """True if a closing view has read what it is to read."""
        return self.end is not None and self.offset >= self.end

    def skipped(self) -> int:
        """How many bytes that are in the file now have not become lines."""
        if self.is_open:
            return max(0, self.size() - self.offset) + self.lines.held
        return 0 if self._identity else self._size_unseen()

    def close(self) -> None:
        """Let go of the file."""
        if self.is_open:
            os.close(self.fd)
            self.fd = -1

    def _size_unseen(self) -> int:
        try:
            status = os.stat(self.path)
        except OSError:
            return 0
        return status.st_size if stat.S_ISREG(status.st_mode) else 0

    def _complain(self, complaint: str) -> bool:
        if complaint != self._complaint:
            logger.warning("%s cannot be shown: %s", self.path, complaint)
            self._complaint = complaint
        return False
