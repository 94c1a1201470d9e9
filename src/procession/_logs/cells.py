"""How wide a text is on a terminal, and what of it fits. No I/O."""

from __future__ import annotations

import re
import unicodedata

_COLOUR = re.compile(r"(\x1b\[[\d;:]*m)")


def cells(character: str) -> int:
    """How many cells a character takes: 2 for a wide one (UAX 11), 0 for one that combines."""
    if unicodedata.east_asian_width(character) in {"W", "F"}:
        return 2
    return 0 if unicodedata.category(character) in {"Mn", "Me", "Cf", "Cc"} else 1


def rows_of(text: str, columns: int) -> int:
    """How many rows a line takes on a terminal of so many columns; 1 where they are not known."""
    rows, room = 1, columns
    for character in _COLOUR.sub("", text) if columns else "":
        needed = cells(character)
        if needed > room:
            rows, room = rows + 1, columns
        room -= needed
    return rows


def fit(text: str, room: int) -> str:
    """Return as much of a text as fits into so many cells, with all of its colours."""
    if text.isascii() and text.isprintable() and len(text) <= room:
        return text
    fitting = []
    for part in _COLOUR.split(text.expandtabs(8)):
        if part.startswith("\x1b"):
            fitting.append(part)
            continue
        for character in part:
            room -= cells(character)
            if room < 0:
                break
            fitting.append(character)
    return "".join(fitting)
