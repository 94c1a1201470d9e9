"""The exception that tells a caller that workers failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procession._report.errorfile import NONE, interpret, summary
from procession._report.ledger import Ledger
from procession.multiprocessing.errors.failure import NOT_AVAILABLE, ProcessFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from procession._report.view import FailureView, ReportView

__all__ = ["ChildFailedError"]


class ChildFailedError(Exception):
    """Workers failed; the text is the whole report.

    A launcher whose main function is under `record` hands the first failure's error file on to
    whoever launched it, as if the launcher itself had failed so.

    Its ``__cause__`` is the first failure's own exception, where a function raised it.

    Attributes:
        name: What was run.
        failures: By global rank, the workers that failed by themselves.
        stopped: By global rank, the workers that were ended because of that.
        ledger: How each worker ended and by whom, what dead workers had left, what could not be ended.
        earlier: What ended each of the attempts before, in a few words.
        notes: What is to be said of other hosts.
    """

    def __init__(
        self,
        name: str,
        failures: dict[int, ProcessFailure],
        stopped: Mapping[int, ProcessFailure] | None = None,
        ledger: Ledger = Ledger(),  # noqa: B008 - a tuple
        notes: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.failures = failures
        self.stopped = stopped or {}
        self.ledger = ledger
        self.earlier: tuple[str, ...] = ()
        self.notes = notes
        if not failures:
            raise AssertionError("a ChildFailedError is of at least one failure")
        super().__init__(self.format_msg())
        self.__cause__ = self.get_first_failure()[1].exception

    def __reduce__(self) -> tuple[object, ...]:
        own = (self.name, self.failures, self.stopped, self.ledger, self.notes)
        return type(self), own, self.__dict__

    def get_first_failure(self) -> tuple[int, ProcessFailure]:
        """The root cause: the global rank and failure that is the earliest, of equals the first given."""
        rank = min(self.failures, key=lambda rank: self.failures[rank].timestamp_ns or 0)
        return rank, self.failures[rank]

    def format_msg(self, boarder_delim: str = "=", section_delim: str = "-") -> str:
        """The report, after a line break that keeps it clear of the exception's name.

        Args:
            boarder_delim: What the first and the last line are made of.
            section_delim: What the lines between its parts are made of.
        """
        from procession._report.render import render_report

        return "\n" + render_report(self.report(), boarder_delim, section_delim)

    def report(self) -> ReportView:
        """The report as plain data."""
        from procession._report.view import ReportView

        ordered = sorted(self.failures.items(), key=lambda item: item[1].timestamp_ns or 0)
        return ReportView(
            self.name,
            tuple(_view(rank, failure) for rank, failure in ordered),
            tuple(_view(rank, failure) for rank, failure in self.stopped.items()),
            self.ledger,
            self.earlier,
            self.notes,
        )


def _view(rank: int, failure: ProcessFailure) -> FailureView:
    from procession._report.view import FailureView

    said, evidence = interpret(failure.error_file_data), failure.evidence
    ns = failure.timestamp_ns or 0
    return FailureView(
        rank=rank,
        local_rank=failure.local_rank,
        pid=failure.pid,
        exitcode=failure.exitcode,
        timestamp_ns=ns,
        time=f"{failure.timestamp_isoformat()}.{ns // 1000 % 10**6:06d}",
        host=failure.host,
        core_dumped=evidence.core_dumped,
        duration=evidence.duration,
        message="" if said.message == NONE else summary(said.message),
        exception_type=said.exception_type,
        traceback=said.traceback,
        last_lines=evidence.last_lines,
        error_file="" if failure.error_file == NOT_AVAILABLE else failure.error_file,
        problem=failure.problem,
        stdout=evidence.stdout,
        stderr=evidence.stderr,
        oom=evidence.oom,
        shared_memory=evidence.shared_memory,
        core=evidence.core,
        hastened_by=evidence.hastened_by,
    )
