r"""From the bytes of one stream to whole lines with one prefix each. No I/O and no clock.

Every byte is searched once and copied a bounded number of times, however the stream is cut into
blocks: a 64 MiB line in 1-byte blocks costs what one block of 64 MiB costs, up to the calls. A line
ends at ``\n`` and nowhere else; everything else, ``\r``, NUL and invalid UTF-8 too, passes through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class LineAssembler:
    r"""Holds the line that has not ended yet and lets the others go, prefixed.

    What it has given out of an unfinished line stays *open*: the rest of it comes without a second
    prefix, unless somebody else's line has come between (`interrupt`).

    Args:
        prefix: What stands before every line.
        keep: Which lines are let through, told by the line as text with its ``\n``. None lets all
            of them through by block operations, without a look at each.
    """

    __slots__ = ("_ended", "_held", "_keep", "_open", "prefix")

    def __init__(self, prefix: bytes = b"", keep: Callable[[str], bool] | None = None) -> None:
        self.prefix = prefix
        self._keep = keep
        self._held = bytearray()
        self._open = False
        self._ended = False  # somebody has put an end to the open line, at this very byte

    @property
    def held(self) -> int:
        """How many bytes of an unfinished line wait in here."""
        return len(self._held)

    @property
    def selective(self) -> bool:
        """True if a filter looks at each line, so that no part of one may be shown before its end."""
        return self._keep is not None

    def feed(self, block: bytes) -> bytes:
        """Take the stream's next bytes; return the lines they end, each behind one prefix."""
        if self._ended:
            block = self._without_second_end(block)
        end = block.rfind(b"\n") + 1
        if not end:
            self._held += block
            return b""
        head, self._held = self._held, bytearray(block[end:])
        body = block[: end - 1]
        text = self._prefixed(head, body) if self._keep is None else self._kept(head, body)
        self._open = False
        return text

    def flush(self) -> bytes:
        """Return what is held of the last line, as it is; bytes that follow continue that line."""
        if not self._held:
            return b""
        part = bytes(self._held)
        self._held.clear()
        if self._keep is not None and not self._keep(part.decode(errors="replace")):
            return b""
        text = part if self._open else self.prefix + part
        self._open, self._ended = True, False
        return text

    def interrupt(self) -> None:
        """Note that the open line has been ended in the view: its rest takes a prefix of its own."""
        self._ended = self._open and not self._held
        self._open = False

    def restart(self) -> None:
        """Forget the unfinished line: what comes next begins a new one."""
        self._held.clear()
        self._open = self._ended = False

    def _prefixed(self, head: bytearray, body: bytes) -> bytes:
        if self.prefix:
            body = body.replace(b"\n", b"\n" + self.prefix)
        return b"".join((b"" if self._open else self.prefix, head, body, b"\n"))

    def _kept(self, head: bytearray, body: bytes) -> bytes:
        keep = self._keep
        kept: list[bytes] = []
        for line in (bytes(head) + body).split(b"\n"):
            if keep is None or keep(line.decode(errors="replace") + "\n"):
                kept += (self.prefix, line, b"\n")
        return b"".join(kept)

    def _without_second_end(self, block: bytes) -> bytes:
        """The interrupted line was whole but for its end: that has been given already."""
        if block:
            self._ended = False
        return block[1:] if block.startswith(b"\n") else block


def payload_after(text: bytes, cut: int, prefix_length: int, *, at_line_start: bool) -> int:
    """How many bytes of the stream itself, prefixes left out, are in ``text[cut:]``.

    Args:
        text: What a `LineAssembler` gave out, in one piece.
        cut: Where the part asked for begins.
        prefix_length: The length of that assembler's prefix.
        at_line_start: True if ``text`` begins with a prefix.
    """
    line_start = text.rfind(b"\n", 0, cut) + 1
    prefixes = text.count(b"\n", cut, max(cut, len(text) - 1)) * prefix_length
    if (line_start or at_line_start) and line_start < len(text):
        prefixes += max(0, prefix_length - (cut - line_start))
    return len(text) - cut - prefixes
