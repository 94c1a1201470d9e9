"""Helping a person who mistyped a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ALIKE = 0.7  # of difflib's 0 to 1; a swap or a slip in a word of six letters is 0.83
_TELLING = 5  # characters from which a beginning says what is meant


def nearest(word: str, known: Iterable[str]) -> list[str]:
    """The one or two known words that ``word`` was most likely meant to be, the likeliest first.

    A word of some length may also be the beginning: ``--nporc`` is near ``--nproc-per-node``.
    """
    from difflib import SequenceMatcher

    def likeness(candidate: str) -> float:
        whole = SequenceMatcher(None, word, candidate).ratio()
        start = SequenceMatcher(None, word, candidate[: len(word)]).ratio()
        return max(whole, start - 0.01 if len(word) >= _TELLING else 0)

    rated = sorted(((likeness(each), each) for each in known), reverse=True)
    return [each for score, each in rated[:2] if score >= max(_ALIKE, rated[0][0] - 0.1)]


def suggestion(word: str, known: Iterable[str]) -> str:
    """A question that names the nearest known words, with a space before it; empty if none is."""
    near = nearest(word, known)
    return f" Did you mean {' or '.join(near)}?" if near else ""
