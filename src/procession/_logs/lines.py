r"""From the bytes of one stream to whole lines with one prefix each. No I/O and no clock.

Every byte is searched once and copied a bounded number of times, however the stream is cut into
blocks: a 64 MiB line in 1-byte blocks costs what one block of 64 MiB costs, up to the calls. A line
ends at ``\n`` and nowhere else; everything else, ``\r``, NUL and invalid UTF-8 too, passes through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Piece: TypeAlias = bytes | bytearray | memoryview  # of a text that is not worth being made one
    # From a line, with its \n if it has one, to what is shown of it; None shows nothing.
    Dress: TypeAlias = Callable[[bytes], bytes | None]

LONGEST_HELD = 128 * 1024 * 1024  # of a line in memory, unless a view is told another limit
BLOCK = 64 * 1024  # the longest block that is fed
_SMALL = 4096  # bytes that are sooner copied once more than handled in pieces


class LineAssembler:
    r"""Holds the line that has not ended yet and lets the others go, prefixed.

    What it has given out of an unfinished line stays *open*: the rest of it comes without a second
    prefix, unless somebody else's line has come between (`interrupt`).

    Args:
        prefix: What stands before every line.
        dress: What is shown of each line. None shows all of them by block operations, without a look
            at each.
        limit: The most bytes of a line that are shown; a mark says how many more there are.
        source: Where a line can be read in full, for that mark.
        rank: Whose stream it is.
    """

    __slots__ = (
        "_cut",
        "_dress",
        "_ended",
        "_held",
        "_limit",
        "_open",
        "by_block",
        "prefix",
        "rank",
        "selective",
        "source",
    )

    def __init__(
        self,
        prefix: bytes = b"",
        dress: Dress | None = None,
        limit: int = LONGEST_HELD,
        source: str = "its file",
        rank: int = 0,
    ) -> None:
        self.prefix = prefix
        self.rank = rank
        self._dress = dress
        self._limit = limit
        self.source = source
        # What is given out is the stream's own bytes and prefixes, and nothing else.
        self.by_block = dress is None and limit >= BLOCK
        # A line may turn out not to be shown, so that no part of it may come before its end.
        self.selective = dress is not None
        self._held = bytearray()
        self._cut = 0  # how many bytes of the unfinished line are beyond the limit
        self._open = False
        self._ended = False  # somebody has put an end to the open line, at this very byte

    @property
    def held(self) -> int:
        """How many bytes of an unfinished line wait in here."""
        return len(self._held)

    @property
    def is_open(self) -> bool:
        """True while the unfinished line has been given out in part, and nobody has put an end to it."""
        return self._open

    @property
    def is_bar(self) -> bool:
        """True while the unfinished line is one that is drawn again and again, on a terminal."""
        return False

    @property
    def bar(self) -> bytes:
        """The newest state of that line, with its prefix."""
        return b""

    def feed(self, block: bytes) -> list[Piece]:
        """Take the stream's next bytes; return the lines they end, each behind one prefix."""
        if self._ended:
            block = self._without_second_end(block)
        end = block.rfind(b"\n") + 1
        if not end:
            self._hold(block)
            return []
        if self._cut:
            block = self._with_mark(block)
            end = block.rfind(b"\n") + 1
        pieces = self._prefixed(block, end) if self.by_block else self._dressed(block, end)
        if self._held or end < len(block):
            self._held = bytearray(block[end:])
        self._open = False
        return pieces

    def flush(self) -> bytes:
        """Return what is held of the last line, as it is; bytes that follow continue that line."""
        if not self._held:
            return b""
        part = bytes(self._held) + self._take_mark()
        self._held.clear()
        shown = part if self._dress is None else self._dress(part)
        if not shown:
            return b""
        text = shown if self._open else self.prefix + shown
        self._open, self._ended = True, False
        return text

    def interrupt(self) -> None:
        """Note that the open line has been ended in the view: its rest takes a prefix of its own."""
        self._ended = self._open and not self._held
        self._open = False

    def restart(self) -> None:
        """Forget the unfinished line: what comes next begins a new one."""
        self._held.clear()
        self._cut = 0
        self._open = self._ended = False

    def _hold(self, block: bytes) -> None:
        self._held += block
        if len(self._held) > self._limit:
            self._cut += len(self._held) - self._limit
            del self._held[self._limit :]

    def _prefixed(self, block: bytes, end: int) -> list[Piece]:
        first = b"" if self._open else self.prefix
        if len(block) < _SMALL:
            body = block[: end - 1].replace(b"\n", b"\n" + self.prefix)
            return [b"".join((first, self._held, body, b"\n"))]
        text = block.replace(b"\n", b"\n" + self.prefix) if self.prefix else block
        behind = len(block) - end + len(self.prefix)  # the last prefix is that of the line held
        return [first, self._held, memoryview(text)[: len(text) - behind]]

    def _dressed(self, block: bytes, end: int) -> list[Piece]:
        pieces: list[Piece] = []
        for line in (bytes(self._held) + block[: end - 1]).split(b"\n"):
            whole = self._shortened(line) + b"\n"
            shown = whole if self._dress is None else self._dress(whole)
            if shown is not None:
                pieces += (b"" if self._open else self.prefix, shown)
            self._open = False
        return pieces

    def _shortened(self, line: bytes) -> bytes:
        if len(line) <= self._limit:
            return line
        self._cut = len(line) - self._limit
        return line[: self._limit] + self._take_mark()

    def _with_mark(self, block: bytes) -> bytes:
        """The first line ends a line that is beyond the limit: its rest becomes the mark."""
        end = block.index(b"\n")
        self._cut += end
        return self._take_mark() + block[end:]

    def _take_mark(self) -> bytes:
        count, self._cut = self._cut, 0
        text = f" [... {count} more bytes of this line in {self.source}]" if count else ""
        return text.encode(errors="surrogateescape")

    def _without_second_end(self, block: bytes) -> bytes:
        """The interrupted line was whole but for its end: that has been given already."""
        if block:
            self._ended = False
        return block[1:] if block.startswith(b"\n") else block


def payload_after(text: bytes, cut: int, prefix_length: int, *, at_line_start: bool) -> int:
    """How many bytes of the stream itself, prefixes left out, are in ``text[cut:]``.

    Args:
        text: What a `LineAssembler` gave out by block, in one piece.
        cut: Where the part asked for begins.
        prefix_length: The length of that assembler's prefix.
        at_line_start: True if ``text`` begins with a prefix.
    """
    line_start = text.rfind(b"\n", 0, cut) + 1
    prefixes = text.count(b"\n", cut, max(cut, len(text) - 1)) * prefix_length
    if (line_start or at_line_start) and line_start < len(text):
        prefixes += max(0, prefix_length - (cut - line_start))
    return len(text) - cut - prefixes
