"""What has been gathered and not yet handed on, with whose it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procession._logs.lines import payload_after

if TYPE_CHECKING:
    from collections.abc import Sequence

    from procession._logs.lines import LineAssembler, Piece

# A batch of a sink, the block that passes it, and its prefixes. More is made room for, and kept no longer
# than it is needed.
_ROOM = 512 * 1024


class Basket:
    """One buffer that is filled and emptied again and again.

    A fresh one for each batch would come from mmap(2) and cost a page fault every 4 KiB, which is a
    third of the whole price of a view.
    """

    __slots__ = ("_begins_line", "_bytes", "_end", "_parts", "_room", "_taken")

    def __init__(self) -> None:
        self._use(bytearray(4096))
        self._taken = self._end = 0
        # Of each part: whose it is, where it ends, and how many bytes of its stream are in it.
        self._parts: list[tuple[LineAssembler | None, int, int]] = []
        self._begins_line = True

    @property
    def size(self) -> int:
        """How many bytes are in here."""
        return self._end - self._taken

    def put(self, owner: LineAssembler | None, pieces: Sequence[Piece], own: int) -> None:
        """Add a part, in pieces.

        Args:
            owner: What has made it; None where it belongs to no stream.
            pieces: Its text.
            own: How many bytes of its stream are in it; not looked at where the owner works by block.
        """
        end = self._end
        for piece in pieces:
            start, end = end, end + len(piece)
            if end > len(self._bytes):
                self._make_room(start, end)
            self._room[start:end] = piece
        self._end = end
        self._parts.append((owner, end, own))

    def next_piece(self, limit: int) -> memoryview:
        """Return what comes next, at most ``limit`` bytes, whole lines if any line is as short."""
        start, end = self._taken, self._end
        if end - start > limit:
            end = start + limit
            end = self._bytes.rfind(b"\n", start, end) + 1 or end
        return self._room[start:end]

    def take(self, count: int) -> None:
        """Be rid of the first ``count`` bytes."""
        self._taken += count
        if self._taken == self._end:
            self.clear()

    def clear(self) -> None:
        """Be rid of everything."""
        if self._end:
            self._begins_line = self._bytes[self._end - 1] == ord("\n")
        self._taken = self._end = 0
        self._parts.clear()
        if len(self._bytes) > _ROOM:
            self._use(bytearray(_ROOM))

    def left(self) -> dict[LineAssembler, int]:
        """How many bytes of each stream are in here."""
        counts: dict[LineAssembler, int] = {}
        start = 0
        for owner, end, own in self._parts:
            if owner is not None and end > self._taken:
                counts[owner] = counts.get(owner, 0) + self._left_of(owner, start, end, own)
            start = end
        return counts

    def _left_of(self, owner: LineAssembler, start: int, end: int, own: int) -> int:
        if not owner.by_block:
            return own
        begins = self._bytes[start - 1] == ord("\n") if start else self._begins_line
        text, cut = bytes(self._room[start:end]), max(0, self._taken - start)
        return payload_after(text, cut, len(owner.prefix), at_line_start=begins)

    def _make_room(self, used: int, wanted: int) -> None:
        room = bytearray(max(2 * len(self._bytes), wanted))
        room[:used] = self._bytes[:used]
        self._use(room)

    def _use(self, room: bytearray) -> None:
        self._bytes = room
        self._room = memoryview(room)  # what is assigned to a slice of it is copied once
