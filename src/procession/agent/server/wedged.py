"""Workers in uninterruptible sleep for longer than anybody has patience: of a device or a file system that is gone."""

from __future__ import annotations

import time
from signal import SIGKILL
from typing import TYPE_CHECKING

from procession._log import Logger
from procession._os.predicament import predicament
from procession._os.proc import stat
from procession.multiprocessing.errors import ProcessFailure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["TORCHELASTIC_UNINTERRUPTIBLE_STATE_TIMEOUT", "Wedged", "as_failure", "patience"]

TORCHELASTIC_UNINTERRUPTIBLE_STATE_TIMEOUT = "TORCHELASTIC_UNINTERRUPTIBLE_STATE_TIMEOUT"

logger = Logger(__name__)


def patience(given: float | None, environ: Mapping[str, str]) -> float:
    """Seconds that a worker may sleep so, 0 for ever: what was given, else what the environment says.

    As in torch a number that is none, or is negative, is 0.
    """
    if given is None:
        try:
            given = float(environ.get(TORCHELASTIC_UNINTERRUPTIBLE_STATE_TIMEOUT, "0"))
        except ValueError:
            return 0.0
    return max(given, 0.0)


class Wedged:
    """Looks, again and again, which workers sleep so, and for how long.

    Args:
        seconds: How long one may; 0 for ever.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._since: dict[int, float] = {}  # pid -> when it was first seen so, without a break

    def look(self, pids: Iterable[int]) -> dict[int, str]:
        """Return those that have slept for too long, by pid, and in what, in words."""
        if not self.seconds:
            return {}
        now = time.monotonic()
        asleep = {pid for pid in pids if _sleeps(pid)}
        for pid in asleep - self._since.keys():
            logger.warning(
                "worker %d is in uninterruptible sleep; it may be for %g s", pid, self.seconds
            )
        self._since = {pid: self._since.get(pid, now) for pid in asleep}
        late = {pid: now - since for pid, since in self._since.items()}
        return {pid: _words(pid, span) for pid, span in late.items() if span >= self.seconds}


def _sleeps(pid: int) -> bool:
    facts = stat(pid)
    return facts is not None and facts.state == "D"


def _words(pid: int, seconds: float) -> str:
    where = predicament(pid).wchan
    return f"in uninterruptible sleep for {seconds:.1f} s{f', in {where}' if where else ''}"


def as_failure(
    local_rank: int, pid: int, words: str, ended: ProcessFailure | None
) -> ProcessFailure:
    """The failure of a worker that was ended for it; ``ended`` as one of those, None if it lives on."""
    failure = ended or ProcessFailure(local_rank, pid, -SIGKILL, "")
    failure.message, failure.error_file_data = words, {"message": words}
    return failure
