"""The record of a run, which ``report.json`` keeps for programs. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from procession.cli.exits import exit_status
from procession.multiprocessing.errors import ChildFailedError
from procession.multiprocessing.supervision import SignalException

if TYPE_CHECKING:
    from procession.multiprocessing.results import RunProcsResult


@dataclass
class Attempt:
    """One start of the gang.

    Attributes:
        number: From 0 up, as in the directory's name.
        master_port: MASTER_PORT of its workers.
        started_ns: Wall-clock ns of the start.
        failures: What is known of each worker that failed by itself, the root cause first.
        stopped: The same of each worker that was ended because of it.
    """

    number: int
    master_port: int
    started_ns: int
    failures: list[dict[str, Any]] = field(default_factory=list)
    stopped: list[dict[str, Any]] = field(default_factory=list)

    def end(self, result: RunProcsResult, name: str) -> None:
        """Take note of how it ended."""
        if result.is_failed():
            report = ChildFailedError(name, result.failures, result.stopped).report()
            self.failures = [asdict(view) for view in report.failures]
            self.stopped = [asdict(view) for view in report.stopped]


@dataclass
class Record:
    """All that happened in a run.

    Attributes:
        name: SCRIPT.
        run_id: TORCHELASTIC_RUN_ID.
        attempts: In order.
    """

    name: str
    run_id: str
    attempts: list[Attempt] = field(default_factory=list)

    def text(self, error: BaseException | None, ended_ns: int) -> str:
        """The record as JSON.

        Args:
            error: What ended the run, None for success.
            ended_ns: Wall-clock ns of its end.
        """
        import json

        outcome, origin = ending(error)
        data = {
            "outcome": outcome,
            "origin": origin,
            "exit_code": exit_status(error),
            "signal": error.sigval.name if isinstance(error, SignalException) else None,
            "message": str(error) if origin == "procession" else None,
            "name": self.name,
            "run_id": self.run_id,
            "started_ns": self.attempts[0].started_ns,
            "ended_ns": ended_ns,
            "attempts": [asdict(attempt) for attempt in self.attempts],
        }
        return json.dumps(data, indent=1) + "\n"


def ending(error: BaseException | None) -> tuple[str, str | None]:
    """The outcome of a run and who decided it.

    Returns:
        ``succeeded``, ``failed``, ``signalled`` or ``broken``; and ``worker``, ``signal``,
        ``procession`` or None.
    """
    if error is None:
        return "succeeded", None
    if isinstance(error, ChildFailedError):
        return "failed", "worker"
    if isinstance(error, (SignalException, KeyboardInterrupt)):
        return "signalled", "signal"
    return "broken", "procession"
