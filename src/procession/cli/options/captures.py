"""What ``--capture`` says of each local rank. Pure."""

from __future__ import annotations

import re

from procession.cli.words import suggestion
from procession.errors import UsageError

_POLICIES = {"file": "", "pipe": "block", "pipe-drop": "drop"}
_ENTRY = r"(?:([0-9]{1,7})(?:-([0-9]{1,7}))?:)?(.*)"


def pipes(text: str, workers: int) -> dict[int, str]:
    """The local ranks whose output goes through a pipe.

    Args:
        text: ``HOW``, or ``RANKS:HOW[,RANKS:HOW...]``, in which the last entry of a rank holds.
        workers: How many there are; others are left out.

    Returns:
        Local rank to ``block`` or ``drop``.

    Raises:
        UsageError: It is neither.
    """
    chosen: dict[int, str] = {}
    for entry in text.split(","):
        match = re.fullmatch(_ENTRY, entry.strip())
        first, last, how = match.groups() if match else (None, None, entry)
        if how not in _POLICIES or (first and last and int(last) < int(first)):
            raise UsageError(_refusal(text, how))
        ranks = range(workers)[_part(first, last)]
        chosen |= dict.fromkeys(ranks, _POLICIES[how])
    return {rank: policy for rank, policy in sorted(chosen.items()) if policy}


def _part(first: str | None, last: str | None) -> slice:
    return slice(None) if first is None else slice(int(first), int(last or first) + 1)


def _refusal(text: str, how: str) -> str:
    hint = suggestion(how, _POLICIES)
    return (
        f"--capture {text}: give file, pipe or pipe-drop, or RANKS:HOW[,RANKS:HOW...] "
        f"such as 0-3:pipe.{hint}"
    )
