"""Files that another process's gang writes to, shown from where their history ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

from procession._logs.follow import Followed, Output
from procession._logs.index_file import read_released
from procession._logs.lines import LineAssembler
from procession._logs.sinks import open_sink
from procession._logs.view import LineFilter, View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from procession._logs.lines import Dress, Piece

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
        sink = open_sink(dst)
        followed = []
        for path, prefix, begin in files:
            file = Followed(path, [Output(_lines(path, prefix, keep, head), sink)])
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


class StampedLines(LineAssembler):
    """Lines that bear the time at which their end was read."""

    __slots__ = ("_bare_prefix", "_head")

    def __init__(self, prefix: bytes, dress: Dress | None, source: str, head: Head) -> None:
        super().__init__(head(time.time_ns(), prefix), dress, source=source)
        self._bare_prefix = prefix
        self._head = head

    def feed(self, block: bytes) -> list[Piece]:
        """Take the stream's next bytes; return the lines they end."""
        self.prefix = self._head(time.time_ns(), self._bare_prefix)
        return super().feed(block)


def _lines(
    path: str,
    prefix: bytes,
    keep: Callable[[str], bool] | None,
    head: Head | None,
) -> LineAssembler:
    dress = None if keep is None else LineFilter(keep, path)
    if head is None:
        return LineAssembler(prefix, dress, source=path)
    return StampedLines(prefix, dress, path, head)
