"""Keeping the books of a stream's file: its index, and how much of it may stay on the disk.

A book looks at the file's size and reads none of its bytes. It is followed as the shown files are,
by the same thread and the same inotify instance, but it belongs to no console: what is not shown, or
not yet, or no more, is booked all the same.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from procession._log import Logger
from procession._logs.follow import Followed, Output
from procession._logs.index_file import IndexWriter
from procession._logs.lines import LineAssembler
from procession._logs.sinks import Nowhere
from procession._logs.space import SpaceWatch
from procession._logs.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from procession._logs.follow import Floor

logger = Logger(__name__)

_INTERVAL = 0.1  # seconds between two looks where a file cannot be watched
_LEAST_STEP = 64 * 1024  # bytes that are released at a time, at least
_OTHERS = 32  # descriptors that a process with a gang has open for other things, or for a moment
_LINE = 4096  # bytes in which the end of a line is looked for, to release whole lines


class Book(Followed):
    """The books of one file.

    Args:
        path: The file.
        sink: Nowhere.
        limit: Bytes of it that may stay on the disk; None for all.
        space: What is told how much has been written.
        frugal: Look by path, which costs more, and hold no descriptor: they are
            needed to show the files.
    """

    __slots__ = ("_frugal", "_index", "_is_there", "_limit", "_space", "released")

    def __init__(
        self,
        path: str,
        sink: Nowhere,
        limit: int | None,
        space: SpaceWatch | None,
        *,
        frugal: bool = False,
    ) -> None:
        super().__init__(path, [Output(LineAssembler(), sink)])
        self._frugal = frugal
        self._is_there = False
        self.released = 0
        self._index = IndexWriter(path)
        self._limit = limit
        self._space = space

    def join(self, floors: dict[str, Floor]) -> None:
        """Let those that show the file know how much of it is left."""
        if self._limit is not None:
            floors[self.path] = self

    def leave(self, floors: dict[str, Floor]) -> None:
        """Nothing more is released."""
        if floors.get(self.path) is self:
            del floors[self.path]

    @property
    def is_open(self) -> bool:
        """True while there is a file to look at."""
        return self._is_there

    @property
    def watched(self) -> str:
        """By which path the file is watched."""
        return self.path if self._frugal else super().watched

    def open(self) -> bool:
        """Begin to look at the file, if it is there."""
        self._is_there = os.path.isfile(self.path) if self._frugal else super().open()
        return self._is_there

    def size(self) -> int:
        """Return the file's size now, -1 where it cannot be told."""
        if not self._frugal:
            return super().size()
        try:
            return os.stat(self.path).st_size
        except OSError:
            return -1

    def advance(self) -> tuple[int, bool]:
        """Book what has been written since the last look; return how many bytes that was, and False."""
        size = self.size()
        count = size - self.outputs[0].offset
        if count <= 0:
            return 0, False
        self.outputs[0].offset = size
        self._index.note(size, time.time_ns())
        if self._space is not None:
            self._space.note(count)
        if self._limit is not None and size - self.released > self._limit:
            self._release(size - self._limit + step(self._limit))
        return count, False

    def settle(self, *, calm: bool) -> None:
        """Write down what has waited for long enough; nothing while nothing is booked."""
        if self._index.waits:
            self._index.settle(time.time_ns(), calm=calm)
            if self._space is not None:
                self._space.look(time.monotonic())

    def is_replaced(self) -> bool:
        """A worker writes to the file that it was given, whatever is under the path now."""
        return False

    def begin_again_where_truncated(self) -> bool:
        """Begin anew where the file has been emptied; True if it has."""
        if not super().begin_again_where_truncated():
            return False
        self.released = 0
        self._index.restart()
        return True

    def close(self) -> None:
        """Write all down and let go of the file."""
        if self._is_there:
            self._index.write()
        self._is_there = False
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _release(self, goal: int) -> None:
        """Give the bytes before ``goal`` back to the disk, up to a line's end where one is near."""
        from procession._os.holes import BLOCK, punch

        try:
            # Not what has come under its name meanwhile, as by `sed -i`.
            fd = os.open(self.watched, os.O_RDWR | os.O_CLOEXEC)
            try:
                mark = goal + os.pread(fd, _LINE, goal).find(b"\n") + 1
                start, end = self.released // BLOCK * BLOCK, mark // BLOCK * BLOCK
                # Whoever reads takes what he has read for released bytes only if he finds it said.
                self._index.release(mark)
                self.released = mark
                punch(fd, start, end - start)
                if self._space is not None:
                    self._space.note(start - end)
            finally:
                os.close(fd)
        except OSError as error:
            self._limit = None
            logger.warning("%s is not kept below its limit: %s", self.path, error.strerror)


def step(limit: int) -> int:
    """How many bytes are released at a time, so that it is not done at every look. Pure."""
    return min(limit // 2, max(_LEAST_STEP, limit // 8))


class Bookkeeping(View):
    """The books of a gang, in the place of a view that shows nothing."""

    def __init__(self, paths: Sequence[str], limit: int | None, space: SpaceWatch | None) -> None:
        sink = Nowhere()
        frugal = _is_short_of_descriptors(len(paths))
        books = [Book(path, sink, limit, space, frugal=frugal) for path in paths]
        self._begin(books, _INTERVAL)
        self.sinks.append(sink)


def _is_short_of_descriptors(files: int) -> bool:
    """True if one for each file, and one to show it, is most of what this process may open."""
    import resource

    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return allowed != resource.RLIM_INFINITY and 3 * files + _OTHERS > allowed


def keep_books(paths: Sequence[str], limit: int | None, say: Callable[[str], None]) -> Bookkeeping:
    """Make the books of a gang's files, for `tail.show`.

    Args:
        paths: The files, which exist; one or more.
        limit: Bytes of each that may stay on the disk; None for all.
        say: Is told when space runs out.
    """
    return Bookkeeping(paths, limit, SpaceWatch(os.path.dirname(paths[0]), say))
