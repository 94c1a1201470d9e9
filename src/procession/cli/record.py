"""The record of a run, which ``report.json`` keeps for programs. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from procession._report.words import exit_name, ranks_text
from procession.cli.exits import exit_status
from procession.errors import (
    ProgramNotExecutableError,
    ProgramNotFoundError,
    RunFailedError,
    StartError,
    UsageError,
)
from procession.multiprocessing.errors import ChildFailedError
from procession.multiprocessing.supervision import SignalException

if TYPE_CHECKING:
    from procession._report.document import Origin
    from procession._report.view import ReportView
    from procession.multiprocessing.results import RunProcsResult


class Attempt:
    """One start of the gang.

    Attributes:
        number: From 0 up, as in the directory's name.
        master_port: MASTER_PORT of its workers.
        started_ns: Wall-clock ns of the start.
        result: What it came to; None while it runs.
    """

    def __init__(self, number: int, master_port: int, started_ns: int) -> None:
        self.number = number
        self.master_port = master_port
        self.started_ns = started_ns
        self.result: RunProcsResult | None = None


class Record:
    """All that happened in a run.

    Attributes:
        name: SCRIPT.
        run_id: TORCHELASTIC_RUN_ID.
        attempts: In order.
    """

    def __init__(self, name: str, run_id: str) -> None:
        self.name = name
        self.run_id = run_id
        self.attempts: list[Attempt] = []

    def begin_attempt(self, number: int, master_port: int, started_ns: int) -> Attempt:
        """Take note of a gang that has been started."""
        self.attempts.append(Attempt(number, master_port, started_ns))
        return self.attempts[-1]

    def earlier_causes(self) -> tuple[str, ...]:
        """What ended each attempt but the last."""
        results = [attempt.result for attempt in self.attempts[:-1]]
        causes = [first_cause(result) for result in results if result and result.failures]
        return tuple(f"{who} ({how})" for who, how in causes)

    def document(self, error: BaseException | None, ended_ns: int) -> dict[str, Any]:
        """What ``report.json`` holds at the end.

        Args:
            error: What ended the run, None for success.
            ended_ns: Wall-clock ns of its end.

        Returns:
            The keys of ``report_json`` of the last attempt; ``state`` "ended"; ``started_ns`` and
            ``ended_ns``; and ``earlier_attempts``, each with its own failures.
        """
        *earlier, last = self.attempts
        return {
            "state": "ended",
            **self._report(last, error),
            "started_ns": self.attempts[0].started_ns,
            "ended_ns": ended_ns,
            "earlier_attempts": [self._earlier(attempt) for attempt in earlier],
        }

    def _report(self, attempt: Attempt, error: BaseException | None) -> dict[str, Any]:
        from procession._report.document import report_json

        view, hosts = self._view(attempt), dict[str, Any]()
        if isinstance(error, RunFailedError):
            view, hosts = self._of_all_hosts(error)
        report = report_json(
            view,
            origin=origin(error),
            exit_code=exit_status(error),
            run_id=self.run_id,
            attempt=attempt.number,
            message=message(error),
        )
        dropped = attempt.result.dropped if attempt.result else {}
        return {**report, **hosts, **({"dropped": dropped} if dropped else {})}

    def _of_all_hosts(self, error: RunFailedError) -> tuple[ReportView, dict[str, Any]]:
        from procession._report.hosts import hosts_json, read_whole, report_of

        whole = read_whole(error.whole)
        return report_of(whole, self.name, str(error)), {"hosts": hosts_json(whole)}

    def _view(self, attempt: Attempt) -> ReportView:
        from procession._report.view import ReportView

        result = attempt.result
        if result is None:
            return ReportView(self.name)
        if not result.failures:
            return ReportView(self.name, ledger=result.ledger)
        failed = ChildFailedError(self.name, result.failures, result.stopped, result.ledger)
        return failed.report()

    def _earlier(self, attempt: Attempt) -> dict[str, Any]:
        report = self._report(attempt, None)
        kept = ("attempt", "root_cause", "failures", "stopped", "ledger")
        times = {"master_port": attempt.master_port, "started_ns": attempt.started_ns}
        return {**times, **{key: report[key] for key in kept}}


def first_cause(result: RunProcsResult) -> tuple[str, str]:
    """Who failed first, and how: ``("rank 3", "SIGKILL")``. Pure."""
    rank, failure = next(iter(result.failures.items()))
    return ranks_text([rank]), exit_name(failure.exitcode)


def running_document(pid: int, mark: str, started_ns: int) -> dict[str, Any]:
    """What ``report.json`` holds until the end.

    Args:
        pid: The launcher's.
        mark: PROCESSION_RUN_ID, by which ``procession reap`` finds the run's processes.
        started_ns: Wall-clock ns.
    """
    return {"state": "running", "pid": pid, "procession_run_id": mark, "started_ns": started_ns}


def origin(error: BaseException | None) -> Origin:
    """Whose end the exit status tells."""
    if error is None or isinstance(error, (ChildFailedError, RunFailedError)):
        return "worker"
    if isinstance(error, (SignalException, KeyboardInterrupt)):
        return "signal"
    if isinstance(error, (StartError, ProgramNotExecutableError, ProgramNotFoundError)):
        return "start"
    return "usage" if isinstance(error, UsageError) else "internal"


def message(error: BaseException | None) -> str:
    """The end of a run in words, for a person; nothing where the workers' failures say it all."""
    if error is None or isinstance(error, ChildFailedError):
        return ""
    if isinstance(error, SignalException):
        return f"{error.sigval.name} ended the run"
    return str(error)
