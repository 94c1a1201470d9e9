"""How the lines of many ranks look on one console. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from procession._logs.lines import LONGEST_HELD

if TYPE_CHECKING:
    from collections.abc import Mapping

TIME = b"${time}"  # in a prefix: the time at which the line was read
# Colours of prefixes, by rank: legible on black and on white, and none of them red.
_PALETTE = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class Look(NamedTuple):
    """What a person has wished of the console.

    Attributes:
        colour: Colours of prefixes: True, False, or None for those on a terminal.
        fold: Whether a line that several ranks print at one time is shown once.
        limit: The most bytes of a line that are shown.
        ranks: The global ranks that are shown, None for all.
    """

    colour: bool | None = None
    fold: bool = False
    limit: int = LONGEST_HELD
    ranks: frozenset[int] | None = None


def wanted_colour(environ: Mapping[str, str]) -> bool | None:
    """What the environment says of colours: True, False, or None where it says nothing.

    ``NO_COLOR`` (no-color.org) wins over ``FORCE_COLOR`` and ``CLICOLOR_FORCE`` (force-color.org,
    bixense.com/clicolors), these over ``CLICOLOR=0``.
    """
    if environ.get("NO_COLOR"):
        return False
    if any(environ.get(name, "0") not in {"", "0"} for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    return False if environ.get("CLICOLOR") == "0" else None


def coloured(prefix: bytes, rank: int) -> bytes:
    """A prefix in the colour of its rank, with no colour behind it."""
    return b"\x1b[%dm%b\x1b[0m" % (_PALETTE[rank % len(_PALETTE)], prefix) if prefix else b""


def many(ranks: list[int]) -> bytes:
    """The head of a line that several ranks have printed: ``[0-3,6] (5x):``."""
    spans: list[list[int]] = []
    for rank in sorted(ranks):
        if spans and spans[-1][-1] == rank - 1:
            spans[-1].append(rank)
        else:
            spans.append([rank])
    text = ",".join(f"{span[0]}-{span[-1]}" if span[1:] else f"{span[0]}" for span in spans)
    return f"[{text}] ({len(ranks)}x):".encode()


def short(name: str, rank: int, columns: int) -> str:
    """The usual head of a rank's lines; the name is left out where it would take an eighth of a line."""
    usual = f"[{name}{rank}]:"
    return f"[{rank}]:" if 0 < columns < 8 * len(usual) else usual
