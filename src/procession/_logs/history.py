"""What the files of a run hold now, in the order asked for, as lines with prefixes and times."""

from __future__ import annotations

import heapq
import os
import select
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from procession._logs.follow import missing
from procession._logs.index import Record
from procession._logs.index_file import read_index, read_released
from procession._logs.lines import BLOCK, LineAssembler
from procession._logs.view import LineFilter
from procession.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from procession._logs.lines import Piece
    from procession._logs.sinks import Sink

_BATCH = 256 * 1024  # bytes that are gathered before they are handed on
# Nanoseconds that the time of a write may be behind, in steps of the kernel's (CONFIG_HZ).
_TICK = 10_000_000
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


class Wish(NamedTuple):
    """What is wanted of each stream.

    Attributes:
        since_ns: Wall-clock ns; only what was seen then or later.
        until_ns: Wall-clock ns; only what was seen then or before.
        last: How many lines at most, the last ones.
        keep: Which lines, told by the line as text with its end; None for all.
        head: What stands before a line, made of a wall-clock ns, or None where it is not known, and of
            the prefix. Of one length for a prefix. None for the prefix itself.
        merge: All streams by time, not one after another; `last` is then of all of them together.
        whole: Whole lines only: somebody goes on where this ends.
        screen: They go to a terminal, and are such as that can show.
    """

    since_ns: int | None = None
    until_ns: int | None = None
    last: int | None = None
    keep: Callable[[str], bool] | None = None
    head: Callable[[int | None, bytes], bytes] | None = None
    merge: bool = False
    whole: bool = False
    screen: bool = False

    @property
    def by_time(self) -> bool:
        """True if the time of each block matters, not only those of the first and the last."""
        return self.merge or self.head is not None

    @property
    def gathers(self) -> bool:
        """True if the last lines of all are known only after those of each."""
        return self.last is not None and self.merge


class Part:
    """The part of one file that is wanted.

    Attributes:
        start: The offset at which it begins.
        end: The offset behind it.
        index: The file's index, None where there is none: its times are not known.
        lines: What makes lines of it.

    Args:
        path: The file.
        prefix: What stands before its lines.
        wish: What is wanted.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: str, prefix: bytes, wish: Wish) -> None:
        self.path = path
        self.prefix = prefix
        self.lines = _lines(path, prefix, wish)
        self.index = read_index(path)
        self.start = self.end = self._mtime_ns = 0
        self._size = 0
        self._fd = os.open(path, _FLAGS)
        facts = os.fstat(self._fd)
        self._size, self._mtime_ns = facts.st_size, facts.st_mtime_ns
        if self.index is not None and self.index.released > self._size:  # it is none of this file
            self.index = self.index._replace(released=0)
        self._bound(wish)

    @property
    def is_told(self) -> bool:
        """True if the times of what it holds are known."""
        return self.index is not None or not self._size

    def blocks(self, by_time: bool) -> Iterator[tuple[int, int | None, Record]]:
        """Its blocks, each with the time by which it takes its turn, and the one that is told."""
        if not by_time or self.index is None:
            yield self._mtime_ns, None, Record(self.start, self.end - self.start, self._mtime_ns)
            return
        for block in self.index.blocks(self.start, self.end):
            yield block.ns, block.ns, block
        start = max(self.start, self.index.end)
        if start < self.end:  # written after the index was last
            last = self.index.times[-1] if self.index.times else self.index.began_ns
            ns = max(self._mtime_ns, last)
            yield ns, ns, Record(start, self.end - start, ns)

    def read(self, block: Record) -> Iterator[bytes]:
        """The bytes of a block as far as they are there; where some are not, what is said of it.

        Raises:
            UsageError: They cannot be read.
        """
        offset, end = block.offset, min(block.end, self.end)
        while offset < end and (data := self._read(min(BLOCK, end - offset), offset)):
            released = read_released(self.path)
            # Asked after the read: it is said before it is done.
            if released > offset and released <= os.fstat(self._fd).st_size:
                yield b"\n" * bool(self.lines.held) + missing(released - offset)
                offset = released
            else:
                yield data
                offset += len(data)

    def _read(self, size: int, offset: int) -> bytes:
        try:
            return os.pread(self._fd, size, offset)
        except OSError as error:  # a directory, a disk that fails
            raise UsageError(f"{self.path} cannot be read: {error.strerror}.") from None

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)

    @property
    def is_to_the_end(self) -> bool:
        """True if nothing behind it was left out."""
        return self.end >= self._size

    def _bound(self, wish: Wish) -> None:
        floor = self.index.released if self.index else 0
        self.end = self._until(wish.until_ns)
        if wish.whole:
            self.end = self._line_start(self.end, floor)
        since = self._since(wish.since_ns)
        self.start = self._line_start(since, floor) if 0 < since < self.end else since
        if wish.last is not None:  # of those before none is among the last of all files either
            self.start = self._last_lines(wish.last, max(floor, self.start), wish)

    def _since(self, ns: int | None) -> int:
        if ns is None:
            return 0
        begin = self.index.begin_of(ns) if self.index else 0
        indexed = self.index.end if self.index else 0
        return self.end if begin >= indexed and self._mtime_ns + _TICK < ns else begin

    def _until(self, ns: int | None) -> int:
        if ns is None or self.index is None:
            return self._size
        if ns >= max(self._mtime_ns, *self.index.times[-1:], 0):
            return self._size
        return min(self.index.end_of(ns), self._size)

    def _line_start(self, offset: int, least: int) -> int:
        """Where the line begins that holds the byte at ``offset``, or the one that begins there."""
        for start, data in self._backwards(offset, least):
            found = data.rfind(b"\n")
            if found >= 0:
                return start + found + 1
        return least

    def _last_lines(self, count: int, least: int, wish: Wish) -> int:
        """Where the last wanted lines begin; a last line without its end counts if it is shown."""
        lines = self._lines_backwards(least)
        wanted = (start for start, line in lines if self._is_wanted(line, wish))
        begin = self.end
        for begin in islice(wanted, count):  # noqa: B007 - the last of them counts
            pass
        return begin

    def _is_wanted(self, line: bytes, wish: Wish) -> bool:
        if not line.endswith(b"\n") and (wish.whole or not self.is_to_the_end):
            return False
        return wish.keep is None or wish.keep(line.decode(errors="replace"))

    def _lines_backwards(self, least: int) -> Iterator[tuple[int, bytes]]:
        """The lines before the end, the last one first, each with its offset."""
        later: list[bytes] = []  # of the line that has its beginning further in front
        for start, data in self._backwards(self.end, least):
            cut = len(data)
            while (found := data.rfind(b"\n", 0, cut - (not later))) >= 0:
                yield start + found + 1, b"".join([data[found + 1 : cut], *reversed(later)])
                later, cut = [], found + 1
            later.append(data[:cut])
        if any(later):
            yield least, b"".join(reversed(later))

    def _backwards(self, offset: int, least: int) -> Iterator[tuple[int, bytes]]:
        while offset > least:
            start = max(least, offset - BLOCK)
            yield start, os.pread(self._fd, offset - start, start)
            offset = start


def _lines(path: str, prefix: bytes, wish: Wish) -> LineAssembler:
    wanted = None if wish.keep is None else LineFilter(wish.keep, path)
    if not wish.screen:
        return LineAssembler(prefix, wanted, source=path)
    from procession._logs.screen import ScreenLines

    return ScreenLines(prefix, source=path, wanted=wanted)


def show(parts: Iterable[Part], wish: Wish, sink: Sink) -> None:
    """Put the lines of all parts into a sink.

    Args:
        parts: In the order in which they are shown where time does not decide. Closed here.
        wish: What is wanted of them.
        sink: Where they go, for as long as it takes any.
    """
    for group in [list(parts)] if wish.merge else ([part] for part in parts):
        try:
            if not sink.closed:
                _show_together(group, wish, sink)
        finally:
            for part in group:
                part.close()


def _show_together(parts: list[Part], wish: Wish, sink: Sink) -> None:
    taker = _Last(wish.last or 0) if wish.gathers else sink
    for part, ns, data in _in_turn(parts, wish):
        if wish.head is not None:
            part.lines.prefix = wish.head(ns, part.prefix)
        if pieces := part.lines.feed(data):
            taker.put_lines(part.lines, pieces, 0)
        if sink.size >= _BATCH:
            hand_on(sink)
        if sink.closed:
            return
    for part in parts:
        if part.is_to_the_end and not wish.whole:
            taker.put_part(part.lines, part.lines.flush(), 0)
    if isinstance(taker, _Last):
        taker.hand_on(sink)
    hand_on(sink)


def hand_on(sink: Sink) -> None:
    """Have a sink hand on what it has gathered, however long that takes."""
    while not sink.write():
        poll = select.poll()
        poll.register(sink.fileno(), select.POLLOUT)
        poll.poll()


def _in_turn(parts: list[Part], wish: Wish) -> Iterator[tuple[Part, int | None, bytes]]:
    turns = [_turns(part, order, wish.by_time) for order, part in enumerate(parts)]
    for _, order, ns, block in heapq.merge(*turns, key=lambda each: each[:2]):
        for data in parts[order].read(block):
            yield parts[order], ns, data


def _turns(part: Part, order: int, by_time: bool) -> Iterator[tuple[int, int, int | None, Record]]:
    for turn, ns, block in part.blocks(by_time):
        yield turn, order, ns, block


class _Last:
    """Keeps the last lines."""

    def __init__(self, count: int) -> None:
        self._lines: deque[tuple[LineAssembler, bytes]] = deque(maxlen=count)

    def put_lines(self, owner: LineAssembler, pieces: Iterable[Piece], own: int) -> None:  # noqa: ARG002
        """Take lines, as a sink does."""
        whole = b"".join(pieces).split(b"\n")[:-1]  # not at \r, as splitlines does
        self._lines.extend((owner, line + b"\n") for line in whole)

    def put_part(self, owner: LineAssembler, part: bytes, own: int) -> None:  # noqa: ARG002
        """Take an unfinished line, as a sink does."""
        if part:
            self._lines.append((owner, part))

    def hand_on(self, sink: Sink) -> None:
        """Give what is kept to a sink."""
        for owner, line in self._lines:
            if line.endswith(b"\n"):
                sink.put_lines(owner, [line], 0)
            else:
                sink.put_part(owner, line, 0)
