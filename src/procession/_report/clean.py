r"""Foreign text made fit for a report: no escape sequences, no control characters, no flood. Pure.

A traceback or a log line may hold colours, a progress bar's ``\r``, NUL, or what moves the cursor of
whoever reads the report.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDEST = 1000
"""Characters of a line that are shown."""

# ECMA-48: control sequences (CSI), strings up to BEL or ST (OSC and its like), two-character escapes.
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])"
)
# C0, DEL, C1, line and paragraph separators, bidirectional controls, lone surrogates; not the tab.
_CONTROLS = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+")


def clean_line(line: str) -> str:
    """One line as a terminal would show it, less colours; what remains of controls is spelt out."""
    shown = _CONTROLS.sub(_spelt, _ESCAPES.sub("", line))
    if len(shown) <= WIDEST:
        return shown
    return f"{shown[:WIDEST]} ... ({len(shown) - WIDEST} more characters)"


def clean_lines(text: str) -> list[str]:
    r"""The lines of a text, of each what stands after its last ``\r``; blank ones at the end left out."""
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    cleaned = [clean_line(line).rstrip() for line in lines]
    while cleaned and not cleaned[-1]:
        cleaned.pop()
    return cleaned


def clip(lines: Sequence[str], head: int, tail: int, what: str = "lines") -> list[str]:
    """The first and the last lines, and between them how many are left out."""
    left_out = len(lines) - head - tail
    if left_out <= 1:
        return list(lines)
    return [*lines[:head], f"... {left_out} {what} left out ...", *lines[-tail:]]


def shape(lines: Sequence[str]) -> str:
    """What two texts share that differ in ranks, pids, addresses and times alone.

    The lines of a traceback that name a place in the source are kept as they are.
    """
    return "\n".join(
        line if line.lstrip().startswith("File ") else _NUMBERS.sub("#", line) for line in lines
    )


def _spelt(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
