"""The decision: a budget and a failure in; another attempt with what is left, or the end, out. Pure."""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, NamedTuple

from procession._restarts.cause import START, Cause

if TYPE_CHECKING:
    from typing import TypeAlias

    from procession._restarts.conditions import Condition

_JITTER = 0.25  # of a pause, at most, is left out
_DOUBLINGS = 64  # more would only overflow


class RestartPolicy(NamedTuple):
    """Which failures are followed by another attempt, and when; torchrun's: all, at once.

    Attributes:
        restart_on: Only these are; where empty all but failed starts.
        no_restart_on: These are not, whatever the other says.
        least: Seconds of the first pause, doubled from attempt to attempt.
        most: Seconds of a pause at most.
        refill: Seconds that a gang has to run for the budget to be full again.
    """

    restart_on: tuple[Condition, ...] = ()
    no_restart_on: tuple[Condition, ...] = ()
    least: float = 0.0
    most: float = 0.0
    refill: float = math.inf

    @classmethod
    def read(
        cls, restart_on: str = "", no_restart_on: str = "", backoff: str = "", refill: str = ""
    ) -> RestartPolicy:
        """Make a policy of what the command's options of these names would be given.

        Args:
            restart_on: Failures that are followed by another attempt, ``"75,64-78,SIGKILL,oom"``;
                docs/restarts.md has all words.
            no_restart_on: Failures that are not.
            backoff: ``"1s:60s"``: the first pause and the longest, or one time for all.
            refill: ``"30m"``: a time of running after which the budget is full again.

        Raises:
            UsageError: One of them cannot be read. (A ``ValueError``.)
        """
        from procession._restarts.options import read_policy

        return read_policy(restart_on, no_restart_on, backoff, refill)


class Budget(NamedTuple):
    """What a run has used up.

    Attributes:
        spent: Restarts after failures, since it began or was refilled.
        cause: What ended the attempt before, None before the first failure.
    """

    spent: int = 0
    cause: Cause | None = None


class Again(NamedTuple):
    """Another attempt.

    Attributes:
        budget: What is used up then.
        pause: Seconds before it.
        worked: Seconds that the last attempt ran, where that has refilled the budget; else 0.
    """

    budget: Budget
    pause: float = 0.0
    worked: float = 0.0


class Enough(NamedTuple):
    """No further attempt.

    Attributes:
        why: By which rule, "" where the cause's words say it.
        spent: The budget is used up: no rule was asked.
    """

    why: str = ""
    spent: bool = False


Decision: TypeAlias = "Again | Enough"


def decide(
    policy: RestartPolicy,
    max_restarts: int,
    budget: Budget,
    cause: Cause,
    uptime: float = 0.0,
    seed: str = "",
) -> Decision:
    """Say what follows a failure.

    Args:
        policy: The run's.
        max_restarts: The run's budget.
        budget: What is used up of it.
        cause: What has ended the gang.
        uptime: Seconds that the gang ran.
        seed: Two runs with different ones do not pause for the same time.
    """
    spent = 0 if uptime >= policy.refill else budget.spent
    if spent >= max_restarts:
        return Enough(spent=True)
    refusal = _refusal(policy, cause, budget.cause)
    if refusal is not None:
        return Enough(refusal)
    worked = uptime if spent < budget.spent else 0.0
    return Again(Budget(spent + 1, cause), pause(policy, spent, seed), worked)


def _refusal(policy: RestartPolicy, cause: Cause, before: Cause | None) -> str | None:
    """Why a failure is not followed by another attempt whatever the budget, None if it may be."""
    if cause.asked:
        return ""
    for condition in policy.no_restart_on:
        if condition.matches(cause, before):
            place = f" ({cause.raised_at})" if condition.kind == "same-traceback" else ""
            return f"--no-restart-on {condition.text}{place}"
    if policy.restart_on:
        if any(condition.matches(cause, before) for condition in policy.restart_on):
            return None
        given = ",".join(condition.text for condition in policy.restart_on)
        return f"not among --restart-on {given}"
    return "what cannot be started is not tried again" if cause.kind == START else None


def pause(policy: RestartPolicy, spent: int, seed: str = "") -> float:
    """Seconds before the attempt that follows ``spent`` restarts.

    Up to a quarter is left out, by the seed, so that runs which failed together (of a file server, say)
    do not come back together.
    """
    whole = min(policy.most, policy.least * 2.0 ** min(spent, _DOUBLINGS))
    return whole * (1 - _JITTER * (zlib.crc32(seed.encode()) / 2**32)) if whole else 0.0
