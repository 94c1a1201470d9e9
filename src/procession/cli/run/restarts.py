"""The budget of restarts as a run on this host keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procession._restarts.cause import GUARDIAN, Cause
from procession._restarts.policy import Again, Budget, RestartPolicy, decide
from procession._restarts.words import again_line, enough_line
from procession.cli.run.stopping import left_as_asked
from procession.errors import GuardianLostError
from procession.multiprocessing.causes import cause_of

if TYPE_CHECKING:
    from procession.multiprocessing.errors import ChildFailedError


class Restarts:
    """What a run on this host has used up of its budget.

    Args:
        policy: The run's; torchrun's where None.
        max_restarts: Its budget.
        seed: What it shares with no other run.
    """

    def __init__(self, policy: RestartPolicy | None, max_restarts: int, seed: str) -> None:
        self._policy = policy or RestartPolicy()
        self._max_restarts = max_restarts
        self._seed = seed
        self._budget = Budget()

    def after(
        self, error: ChildFailedError | GuardianLostError, *, asked: bool
    ) -> tuple[float | None, str]:
        """Decide what follows.

        Args:
            error: How an attempt ended.
            asked: The stop file was there.

        Returns:
            Seconds until the next attempt, None if there is none; and what is to be said.
        """
        cause, uptime = _cause(error, asked=asked), _uptime(error)
        decision = decide(
            self._policy, self._max_restarts, self._budget, cause, uptime, self._next_seed()
        )
        if not isinstance(decision, Again):
            return None, enough_line(decision, cause)
        self._budget = decision.budget
        return decision.pause, again_line(decision, self._max_restarts)

    @property
    def spent(self) -> int:
        """What is used up of the budget."""
        return self._budget.spent

    def _next_seed(self) -> str:
        return f"{self._seed}-{self._budget.spent}"


def _cause(error: ChildFailedError | GuardianLostError, *, asked: bool) -> Cause:
    if isinstance(error, GuardianLostError):
        return Cause(GUARDIAN, error.exit_code, words="the guardian of the workers was killed")
    return cause_of(error.failures, asked=asked and left_as_asked(error.failures))


def _uptime(error: ChildFailedError | GuardianLostError) -> float:
    """Seconds for which the gang ran, as far as is known."""
    if isinstance(error, GuardianLostError):
        return 0.0
    return next(iter(error.failures.values())).evidence.duration or 0.0
