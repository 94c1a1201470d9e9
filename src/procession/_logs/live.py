"""Files that another process's gang writes to, shown from where their history ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

from procession._logs.follow import Followed, Output
from procession._logs.index_file import read_released
from procession._logs.sinks import open_sink
from procession._logs.view import LineFilter, View, assembler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from procession._logs.lines import LineAssembler
    from procession._logs.sinks import Sink

    Head = Callable[[int | None, bytes], bytes]

_INTERVAL = 0.1  # seconds between two looks where a file cannot be watched


class LiveView(View):
    """What is written from now on.

    Args:
        files: Path, prefix, and the offset that is read from, of each.
        dst: As for `View`.
        keep: As for `View`.
        head: As for `Wish`.
    """

    def __init__(
        self,
        files: Iterable[tuple[str, bytes, int]],
        dst: TextIO,
        keep: Callable[[str], bool] | None,
        head: Head | None,
    ) -> None:
        sink = open_sink(dst, screen=True)
        followed = []
        for rank, (path, prefix, begin) in enumerate(files):
            wanted = None if keep is None else LineFilter(keep, path)
            lines = assembler(prefix, path, sink, wanted, rank=rank)
            output = Output(lines, sink) if head is None else StampedOutput(lines, sink, head)
            file = Followed(path, [output])
            file.begin, file.floor = begin, SidecarFloor(path)
            followed.append(file)
        self._begin(followed, _INTERVAL)
        self.sinks.append(sink)


class SidecarFloor:
    """What a file's index says has been released of it."""

    def __init__(self, path: str) -> None:
        self._path = path

    @property
    def released(self) -> int:
        """The offset before which the file's bytes are no more."""
        return read_released(self._path)


class StampedOutput(Output):
    """An output whose lines bear the time at which their end was read."""

    __slots__ = ("_bare_prefix", "_head")

    def __init__(self, lines: LineAssembler, sink: Sink, head: Head) -> None:
        super().__init__(lines, sink)
        self._bare_prefix, self._stamped = lines.prefix, None
        self._head = head

    def take(self, block: bytes) -> None:
        """Show the next bytes of the file, as far as they end lines."""
        self.lines.prefix = self._head(time.time_ns(), self._bare_prefix)
        super().take(block)
