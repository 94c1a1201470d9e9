"""From failures to the plain data of which a report is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procession._report.errorfile import NONE, interpret, summary
from procession._report.view import FailureView, ReportView
from procession._report.words import NOT_AVAILABLE

if TYPE_CHECKING:
    from procession.multiprocessing.errors.child_failed import ChildFailedError
    from procession.multiprocessing.errors.failure import ProcessFailure

__all__ = ["view_of"]


def view_of(error: ChildFailedError) -> ReportView:
    """Return what a report shows of failed workers, in order of time."""
    ordered = sorted(error.failures.items(), key=lambda item: item[1].timestamp_ns or 0)
    return ReportView(
        error.name,
        tuple(_view(rank, failure) for rank, failure in ordered),
        tuple(_view(rank, failure) for rank, failure in error.stopped.items()),
        error.ledger,
        error.earlier,
        error.notes,
    )


def _view(rank: int, failure: ProcessFailure) -> FailureView:
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
