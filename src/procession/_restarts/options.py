"""A policy read from text, as the command line and ``RestartPolicy`` take it. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from procession._restarts import conditions
from procession._restarts.policy import RestartPolicy
from procession.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*(ms|s|m|min|h|d)?")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, None: 1}


def read_policy(
    restart_on: str = "",
    no_restart_on: str = "",
    backoff: str = "",
    refill: str = "",
    suggest: Callable[[str, Iterable[str]], str] = lambda *_: "",
) -> RestartPolicy:
    """Make a policy of what the options say, each "" where it is not given.

    Args:
        restart_on: Failures that are followed by another attempt.
        no_restart_on: Failures that are not.
        backoff: ``MIN:MAX`` or one time: the pause before another attempt.
        refill: A time after which the budget is full again.
        suggest: Names the known words that are near an unknown one, as a question.

    Raises:
        UsageError: Naming the option.
    """
    least, most = _backoff(backoff) if backoff else (0.0, 0.0)
    policy = RestartPolicy(
        conditions.read(restart_on, "--restart-on", suggest),
        conditions.read(no_restart_on, "--no-restart-on", suggest),
        least,
        most,
    )
    return policy._replace(refill=_refill(refill)) if refill else policy


def seconds(text: str) -> float | None:
    """A time such as ``30``, ``1.5s``, ``500ms``, ``2m``, ``1h`` in seconds; None if it is none."""
    match = _TIME.fullmatch(text.strip())
    return float(match[1]) * _UNITS[match[2]] if match else None


def _backoff(text: str) -> tuple[float, float]:
    first, colon, last = text.partition(":")
    least, most = seconds(first), seconds(last if colon else first)
    if least is None or most is None or not least <= most or (most and not least):
        raise UsageError(
            f"--restart-backoff {text}: give MIN:MAX, the first pause and the longest, such as 1s:60s, or "
            "one time such as 5s."
        )
    return least, most


def _refill(text: str) -> float:
    value = seconds(text)
    if not value:
        raise UsageError(f"--restart-refill {text}: give a time such as 30m, 90s or 2h.")
    return value
