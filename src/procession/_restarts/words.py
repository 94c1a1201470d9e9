"""What a person is told of restarts. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from procession._restarts.cause import Cause
    from procession._restarts.policy import Again, Enough, RestartPolicy


def again_line(again: Again, max_restarts: int) -> str:
    """What is said of another attempt; attempts are counted from 1.

    ``attempt 2 of 4: rank 1 died of SIGKILL (out of memory); restarting in 2 s``
    """
    cause = again.budget.cause
    number = f"attempt {again.budget.spent + 1} of {max_restarts + 1}"
    anew = f" (counted anew after {duration(again.worked)})" if again.worked else ""
    when = f" in {duration(again.pause)}" if again.pause else ""
    return f"{number}{anew}: {cause.words if cause else ''}; restarting{when}"


def enough_line(enough: Enough, cause: Cause) -> str:
    """What is said where a rule forbids another attempt; "" where the budget is used up."""
    if enough.spent:
        return ""
    why = f": {enough.why}" if enough.why else ""
    return f"{cause.words}; no further attempt{why}"


def duration(seconds: float) -> str:
    """A time as options write it, to be read: ``0.5 s``, ``90 s``, ``30 min``, ``2.5 h``."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"


def policy_lines(policy: RestartPolicy, max_restarts: int) -> Iterator[str]:
    """A policy for ``--explain``."""
    times = f"{max_restarts} time{'s' * (max_restarts > 1)}"
    named = ", ".join(condition.text for condition in policy.restart_on)
    others = ", ".join(condition.text for condition in policy.no_restart_on)
    which = f" after {named}" if named else ""
    but = f", but not after {others}" if others else ""
    if not max_restarts:
        yield "no restart, whatever the other options say of it: --max-restarts is 0"
        return
    yield f"all start again{which}, at most {times}{but}"
    if policy.most:
        span = duration(policy.least)
        if policy.most > policy.least:
            span = f"{span}, doubled up to {duration(policy.most)}"
        yield f"  after a pause of {span} (less up to a quarter, by chance)"
    if policy.refill < math.inf:
        yield f"  counted anew once a gang has run for {duration(policy.refill)}"
