"""A terminal: lines that stay, and below them the lines that are drawn again and again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from procession._logs.cells import fit, rows_of
from procession._logs.sinks import FileSink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from procession._logs.lines import LineAssembler, Piece

_LEAST_WIDTH = 20  # columns; a narrower terminal gets no bars


class TerminalSink(FileSink):
    """A console that a person looks at.

    The bars stand at the bottom, one row each, with the cursor at the end of the last. They are taken away
    before anything else is shown and drawn again after it, in the same write. A line that has begun
    (a prompt) has the bottom for itself until it ends.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(fd, console=True)
        self.draws = os.environ.get("TERM", "dumb") != "dumb"
        self._bars: dict[LineAssembler, bytes] = {}
        # xterm and screen cut what is wider than they have become; the others break it into rows.
        self._breaks = not os.environ.keys() & {"XTERM_VERSION", "STY"}
        self._drawn: list[str] = []  # the bars on the screen now
        self._stale = False

    def put_lines(self, owner: LineAssembler, pieces: Sequence[Piece], own: int) -> None:
        """Gather whole lines of one stream; its bar, if it has one, ends with them."""
        self._erase()
        self._bars.pop(owner, None)
        super().put_lines(owner, pieces, own)

    def end_line(self, owner: LineAssembler | None = None) -> None:
        """End the line in which the sink stands, if it does (and if it is ``owner``'s)."""
        self._erase()
        super().end_line(owner)

    def put_bar(self, owner: LineAssembler, bar: bytes) -> None:
        """Show this as the state of a stream's unfinished line."""
        if self._bars.get(owner) != bar:
            self._bars[owner] = bar
            self._stale = True

    def drop_bar(self, owner: LineAssembler) -> None:
        """Show nothing more of a stream's unfinished line."""
        if self._bars.pop(owner, None) is not None:
            self._stale = True

    def write(self) -> bool:
        """Hand on what is gathered, with the bars below it, as far as the terminal takes it at once."""
        if self._stale and self._holder is None and not self.closed:
            self._draw()
        return super().write()

    @property
    def size(self) -> int:
        """How many bytes wait here to be handed on; bars that are to be drawn again count as one."""
        return super().size or (self._stale and self._holder is None and not self.closed)

    def clear(self) -> None:
        """Take the bars away now, for somebody else has something to say; they come back by themselves.

        A line that has begun ends; its rest begins another.
        """
        self.end_line()
        if not self.blocked:
            super().write()

    def _erase(self) -> None:
        if self._drawn:
            rows = self._rows_drawn()
            up = b"\x1b[%dA" % (rows - 1) if rows > 1 else b""
            self._basket.put(None, [b"\r", up, b"\x1b[J"], 0)
            self._drawn, self._stale = [], True

    def _rows_drawn(self) -> int:
        """How many rows the bars take, of a terminal that may have become narrower since."""
        columns, _ = self._shape()
        return sum(rows_of(bar, columns) if self._breaks else 1 for bar in self._drawn)

    def _draw(self) -> None:
        self._erase()
        self._stale = False
        self._drawn = self._fitting_rows()
        if self._drawn:
            self._basket.put(None, ["\n".join(self._drawn).encode()], 0)

    def _fitting_rows(self) -> list[str]:
        columns, lines = self._shape()
        if columns < _LEAST_WIDTH:
            return []
        most = max(1, lines // 2)
        bars = [bar for _, bar in sorted(self._bars.items(), key=_rank)]
        left = len(bars) - most + 1 if len(bars) > most else 0
        shown = [fit(bar.decode(errors="replace"), columns - 1) for bar in bars[: len(bars) - left]]
        return [*shown, f"... and {left} more"] if left else shown

    def _shape(self) -> tuple[int, int]:
        """Columns and lines, 0 where they cannot be told."""
        try:
            return os.get_terminal_size(self._fd)
        except OSError:
            return 0, 0


def _rank(item: tuple[LineAssembler, bytes]) -> int:
    return item[0].rank
