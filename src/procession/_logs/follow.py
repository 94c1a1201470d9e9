"""One log file of one view: where it is, how far it has been read, what has become of it."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Protocol

from procession._log import Logger
from procession._logs.lines import BLOCK
from procession._logs.look import TIME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from procession._logs.fold import Fold
    from procession._logs.lines import LineAssembler, Piece
    from procession._logs.sinks import Sink

logger = Logger(__name__)

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


_FOR_EYES = 4096  # the block that is read for a terminal, which takes no more at a time


def time_of_day() -> bytes:
    """The local time, to the millisecond."""
    seconds, ns = divmod(time.time_ns(), 10**9)
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{ns // 10**6:03}".encode()


class Fallible(Protocol):
    """Code of somebody else's that may raise."""

    @property
    def failed(self) -> bool:
        """True once it has."""


class Output:
    """One place where a file is shown, and how far.

    Args:
        lines: What makes lines of the file's bytes.
        sink: Where they go.
        wanted: What chooses among the lines; the output is over once that fails.
    """

    __slots__ = ("_filter", "_stamped", "block", "lines", "offset", "over", "sink")

    def __init__(self, lines: LineAssembler, sink: Sink, wanted: Fallible | None = None) -> None:
        self.lines = lines
        self.sink = sink
        self._filter = wanted
        self.block = _FOR_EYES if sink.terminal else BLOCK
        self._stamped = lines.prefix if TIME in lines.prefix else None
        self.offset = 0
        self.over = False  # nothing more is shown here

    def take(self, block: bytes) -> None:
        """Show the next bytes of the file, as far as they end lines."""
        self.offset += len(block)
        lines = self.lines
        if self._stamped is not None:
            lines.prefix = self._stamped.replace(TIME, time_of_day())
        held = 0 if lines.by_block else lines.held
        try:
            pieces = lines.feed(block)
        except BaseException:  # a filter is the caller's code, and other views share this thread
            logger.exception("error in log tailer for %s", self.lines.source)
            self.over = True
            return
        if pieces:
            own = 0 if lines.by_block else held + len(block) - lines.held
            self._put_lines(pieces, own)

    def _put_lines(self, pieces: Sequence[Piece], own: int) -> None:
        self.sink.put_lines(self.lines, pieces, own)

    def show_part(self) -> None:
        """Show what is held of the last line; what follows continues it, or draws it again."""
        if self.lines.is_bar:
            self.sink.put_bar(self.lines, self.lines.bar)
        else:
            self.show_rest()

    def show_rest(self) -> None:
        """Show what is held of the last line, since nothing follows it."""
        held = self.lines.held
        self.sink.drop_bar(self.lines)
        self.sink.put_part(self.lines, self.lines.flush(), held)

    def begin_again(self, offset: int = 0) -> None:
        """Show the file from there; the line that it stands in ends, as far as it is known."""
        self.show_rest()
        self.sink.end_line(self.lines)
        self.lines.restart()
        self.offset = offset

    def leap(self, released: int) -> None:
        """Go on behind what has been released, and say so where it is missing."""
        notice = missing(released - self.offset)
        self.begin_again(released)
        if not self.lines.selective:
            self.sink.put_lines(self.lines, self.lines.feed(notice), 0)


class FoldedOutput(Output):
    """An output whose whole lines wait for their like in other outputs.

    Args:
        lines: As for `Output`.
        sink: As for `Output`.
        wanted: As for `Output`.
        fold: Where they wait.
        rank: Whose they are.
    """

    __slots__ = ("_begun", "fold", "rank")

    def __init__(
        self, lines: LineAssembler, sink: Sink, wanted: Fallible | None, fold: Fold, rank: int
    ) -> None:
        super().__init__(lines, sink, wanted)
        lines.by_block = False
        self.fold = fold
        self.rank = rank
        self._begun = False  # the first of the next lines has been shown in part

    def take(self, block: bytes) -> None:
        """Show the next bytes of the file, as far as they end lines."""
        self._begun = self.lines.is_open
        super().take(block)

    def _put_lines(self, pieces: Sequence[Piece], own: int) -> None:  # noqa: ARG002
        now = time.monotonic()
        lines = [line + b"\n" for line in b"".join(pieces).split(b"\n")[:-1]]
        if self._begun:
            rest = lines.pop(0)
            self.sink.put_lines(self.lines, [rest], len(rest))
        for line in lines:
            self.fold.add(self.rank, line.removeprefix(self.lines.prefix), now)


class Floor(Protocol):
    """What knows which bytes of a file are no more."""

    @property
    def released(self) -> int:
        """The offset before which they are."""


class Followed:
    """A file that is read by offset while others append to it.

    What can become of it, and what then happens:

    - not there yet: waited for, for ever;
    - a directory, a device, unreadable: said once, and waited for as if it were not there;
    - shorter than what has been read (truncated): read again from its beginning;
    - another file under its name (replaced): this one is read to its end, then the other;
    - deleted: read on, for the writer has it open as well;
    - written to for ever: read for ever, or to where it ended when its view was told to close.

    Args:
        path: The file.
        outputs: Where it is shown. Those that are at one place of the file share a read; one that
            is blocked stays behind, and catches up with reads of its own.
        stays: Whether what comes under the path later is none of its writer's: the file that was there
            first is read on.
    """

    __slots__ = (
        "_complaint",
        "_identity",
        "_stays",
        "begin",
        "end",
        "fd",
        "floor",
        "outputs",
        "path",
    )

    def __init__(self, path: str, outputs: list[Output], *, stays: bool = False) -> None:
        self.path = path
        self.outputs = outputs
        self._stays = stays
        self.fd = -1
        self.begin = 0  # where the file that is opened first is read from
        self.floor: Floor | None = None
        self.end: int | None = None  # where a closing view stops reading
        self._identity: tuple[int, int] | None = None  # of the file opened last
        self._complaint = ""

    @property
    def is_open(self) -> bool:
        """True while there is a file to read."""
        return self.fd >= 0

    @property
    def watched(self) -> str:
        """By which path the file is watched: by its descriptor, for its path may be another's by now."""
        return f"/proc/self/fd/{self.fd}"

    @property
    def waits(self) -> bool:
        """True while nobody takes what is read."""
        return all(output.sink.blocked for output in self.outputs)

    @property
    def is_simple(self) -> bool:
        """True if nothing is to be done at the file's end but to wait for more."""
        output, *others = self.outputs
        return not (others or output.over or output.sink.terminal or self.end is not None)

    def open(self) -> bool:
        """Open what is under the path now, to be read from `begin`; False if that cannot be."""
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
        self._identity = (status.st_dev, status.st_ino)
        for output in self.outputs:
            output.offset = self.begin
        self.begin = 0
        return True

    def join(self, floors: dict[str, Floor]) -> None:
        """Take note of who else knows of the same file."""
        self.floor = self.floor or floors.get(self.path)

    def leave(self, floors: dict[str, Floor]) -> None:
        """The end of it."""

    def advance(self) -> tuple[int, bool]:
        """Show a block to those outputs that are behind the others and not blocked.

        Returns:
            The number of bytes read, and whether there may be more right behind them.
        """
        if len(self.outputs) == 1:  # nearly always, and in a hurry
            return self._advance_together(self.outputs, self.outputs[0].block)
        takers = [output for output in self.outputs if not output.sink.blocked]
        offset = min([output.offset for output in takers])
        ahead = [output.offset - offset for output in takers if output.offset > offset]
        return self._advance_together(
            [output for output in takers if output.offset == offset], min([BLOCK, *ahead])
        )

    def _advance_together(self, outputs: list[Output], size: int) -> tuple[int, bool]:
        start = outputs[0].offset
        block = self._read(start, size)
        released = self.floor.released if self.floor and block else 0
        # Asked after the read: it is said before it is done. What says more than there is speaks of
        # bytes that the file had before it was emptied, or is no index of ours.
        if released > start and released <= self.size():
            for output in outputs:
                output.leap(released)
            return len(block), True
        if block:
            for output in outputs:
                output.take(block)
        return len(block), len(block) == size

    def _read(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self.fd, size, offset)
        except OSError as error:
            self._complain(error.strerror or str(error))
            return b""

    def settle(self, *, calm: bool) -> None:
        """What is to be done now and then, and more of it in a calm moment."""

    def size(self) -> int:
        """Return the file's size now, -1 where it cannot be told."""
        try:
            return os.lseek(self.fd, 0, os.SEEK_END)
        except OSError:
            return -1

    def has_news(self) -> bool:
        """True if the file's size is not what has been read of it."""
        size = self.size()
        for output in self.outputs:  # not any(...): it is asked of each file at each look
            if output.offset != size:
                return size != -1
        return False

    def begin_again_where_truncated(self) -> bool:
        """Have the outputs begin again that are beyond the file's end; True if there are any."""
        size = self.size()
        beyond = [output for output in self.outputs if -1 < size < output.offset]
        for output in beyond:
            output.begin_again()
        if beyond and self.end is not None:
            self.end = size
        return bool(beyond)

    def is_replaced(self) -> bool:
        """True if another regular file is under the path now, and is to be read."""
        if self._stays:
            return False
        try:
            status = os.stat(self.path)
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) != self._identity

    def is_shown(self) -> bool:
        """True if all of it is in its sinks, and no other file has come under its path."""
        try:
            status = os.fstat(self.fd) if self._stays else os.stat(self.path)
        except OSError:
            return False
        if (status.st_dev, status.st_ino) != self._identity:
            return False
        for output in self.outputs:  # not all(...), as in `has_news`
            if output.offset != status.st_size or output.sink.blocked:
                return False
        return True

    def read_out(self) -> list[Output]:
        """The outputs in which a closing view has shown all that it is to show."""
        end = self.end
        return [output for output in self.outputs if end is not None and output.offset >= end]

    def begin_successor(self) -> None:
        """End with the file that was under the path: what is opened next is shown from its beginning."""
        for output in self.outputs:
            output.begin_again()
        self.end = None

    def left(self, output: Output) -> int:
        """How many bytes that are in the file now an output has not made lines of."""
        if self.is_open:
            return max(0, self.size() - output.offset) + output.lines.held
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


def missing(count: int) -> bytes:
    """The line that stands where bytes have been released. Pure."""
    return f"[{count} bytes are missing here: --log-limit has released them]\n".encode()
