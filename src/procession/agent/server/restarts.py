"""What an agent of the library has used up of its budget of restarts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from procession._log import Logger
from procession._report.weight import PEER_LOST, weight
from procession._restarts.cause import Cause
from procession._restarts.policy import Again, Budget, RestartPolicy, decide
from procession._restarts.words import again_line, enough_line
from procession.multiprocessing.causes import cause_of
from procession.multiprocessing.errors import ChildFailedError

if TYPE_CHECKING:
    from procession.agent.server.workers import RunResult

__all__ = ["RestartPolicy", "Restarts", "only_misses_peers"]

logger = Logger(__name__)


def only_misses_peers(result: RunResult) -> bool:
    """Whether workers failed as those do whose peers went first."""
    if not result.failures:
        return False
    return weight(ChildFailedError("", result.failures).report().failures[0]) == PEER_LOST


class Restarts:
    """An agent's budget; as in torch each agent decides by the failures of its own workers.

    Args:
        policy: After which failures, and when; torch's way where None.
        max_restarts: How often.
    """

    def __init__(self, policy: RestartPolicy | None, max_restarts: int) -> None:
        self._policy = policy or RestartPolicy()
        self._max_restarts = max_restarts
        self._budget = Budget()
        self._seed = os.urandom(8).hex()

    @property
    def remaining(self) -> int:
        """Restarts that are left."""
        return self._max_restarts - self._budget.spent

    def give_up(self) -> None:
        """Have no further attempt, whatever the policy says."""
        self._max_restarts = self._budget.spent

    def after(self, result: RunResult) -> float | None:
        """Decide what follows a failure, and log it.

        Returns:
            Seconds until the next attempt, None if there is none.
        """
        cause, uptime = Cause(words=f"workers are {result.state.value}"), 0.0
        if result.failures:
            cause = cause_of(result.failures)
            uptime = next(iter(result.failures.values())).evidence.duration or 0.0
        seed = f"{self._seed}-{self._budget.spent}"
        decision = decide(self._policy, self._max_restarts, self._budget, cause, uptime, seed)
        if not isinstance(decision, Again):
            if line := enough_line(decision, cause):
                logger.warning("%s", line)
            return None
        self._budget = decision.budget
        logger.warning("%s", again_line(decision, self._max_restarts))
        return decision.pause
