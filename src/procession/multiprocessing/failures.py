"""From a gang's deaths to the failures that users are told of."""

from __future__ import annotations

from signal import SIGKILL
from typing import TYPE_CHECKING

from procession._report.errorfile import own_end, read_error_file
from procession._report.evidence import Evidence, final_lines
from procession._report.rootcause import Death, causes_first, failure_time_ns, judge
from procession._report.weight import misses_a_peer
from procession._report.words import NOT_AVAILABLE, signal_name
from procession.multiprocessing.errors.failure import ProcessFailure
from procession.multiprocessing.stopped import Stopped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from procession._loop.gang import Gang
    from procession._loop.worker import Worker
    from procession._report.errorfile import OwnEnd

__all__ = ["Failures", "add_words", "explain", "failed_after_all"]

Failures = dict[int, ProcessFailure]


def explain(
    gang: Gang, stdouts: Mapping[int, str], stderrs: Mapping[int, str]
) -> tuple[Failures, Mapping[int, ProcessFailure]]:
    """Return ``(failures, stopped)`` of a gang that has ended, failures in order of time."""
    verdict = judge(_deaths(gang.workers.values()), gang.first_signal_ns)
    failures = causes_first(verdict.failures, _missing(gang, verdict.failures, stderrs))
    workers, since_boot_ns = gang.workers, gang.since_boot_ns
    stopped = {death.local_rank: death for death in verdict.stopped}

    def failure(rank: int) -> ProcessFailure:
        moment = since_boot_ns + failure_time_ns(stopped[rank])
        return _failure(workers[rank], moment, _evidence(workers[rank], stdouts, stderrs))

    def own_failure(death: Death) -> ProcessFailure:
        worker = workers[death.local_rank]
        status, hastened = _hastened(worker, gang.signum)
        evidence = _evidence(worker, stdouts, stderrs)._replace(hastened_by=hastened)
        return _failure(worker, since_boot_ns + failure_time_ns(death), evidence, status)

    own = {death.local_rank: own_failure(death) for death in failures}
    return own, Stopped(stopped, failure)


def _missing(gang: Gang, failures: Sequence[Death], stderrs: Mapping[int, str]) -> set[int]:
    """The workers whose failures only tell that a peer was lost; asked where there are several."""
    if len(failures) < 2:
        return set()
    return {d.local_rank for d in failures if _misses(gang.workers[d.local_rank], stderrs)}


def _misses(worker: Worker, stderrs: Mapping[int, str]) -> bool:
    said, stderr = read_error_file(worker.error_file), stderrs.get(worker.rank, "")
    if said is not None and not said.problem:
        return misses_a_peer(said.exception_type, said.traceback, ())
    return misses_a_peer(None, None, final_lines(stderr, worker.exitcode or 0) if stderr else ())


def failed_after_all(
    gang: Gang, worker: Worker, why: str, stdouts: Mapping[int, str], stderrs: Mapping[int, str]
) -> ProcessFailure:
    """Return the failure of a worker that ended with 0, for all that has not done what it was for.

    Args:
        gang: The worker's.
        worker: The worker.
        why: The failure in words; the worker's own error file, if there is one, where empty.
        stdouts: Path of each rank's stdout.
        stderrs: Path of each rank's stderr.
    """
    moment = gang.since_boot_ns + worker.died_ns
    failure = _failure(worker, moment, _evidence(worker, stdouts, stderrs))
    if why:
        failure.message = why
        failure.error_file_data = {"message": why}
    return failure


def add_words(failure: ProcessFailure, text: str) -> None:
    """Add what the launcher knows to a failure of which the worker itself has said nothing."""
    if failure.error_file == NOT_AVAILABLE:
        failure.message = f"{failure.message}; {text}"
        failure.error_file_data = {**failure.error_file_data, "message": text}


def _failure(
    worker: Worker, timestamp_ns: int, evidence: Evidence, exitcode: int | None = None
) -> ProcessFailure:
    return ProcessFailure(
        local_rank=worker.rank,
        pid=worker.pid,
        exitcode=(worker.exitcode or 0) if exitcode is None else exitcode,
        error_file=worker.error_file,
        timestamp_ns=timestamp_ns,
        evidence=evidence,
    )


def _deaths(workers: Iterable[Worker]) -> list[Death]:
    # Sorted by the guardian's stamps, and by its order within one: the messages came in that order.
    dead = sorted((w for w in workers if w.exitcode is not None), key=lambda w: w.death_order)
    return [
        Death(
            local_rank=worker.rank,
            pid=worker.pid,
            exitcode=worker.exitcode or 0,
            core_dumped=worker.core_dumped,
            died_ns=worker.died_ns,
            raised_ns=_raised_ns(worker),
            doomed=worker.doomed,
        )
        for worker in dead
    ]


def _own_end(worker: Worker) -> OwnEnd | None:
    """What the worker says of the beginning of its end, if it says so of this attempt."""
    end = own_end(worker.error_file) if worker.exitcode else None
    in_time = end is not None and worker.started_ns <= end.monotonic_ns <= worker.died_ns
    return end if in_time else None


def _raised_ns(worker: Worker) -> int | None:
    end = _own_end(worker)
    return None if end is None else end.monotonic_ns


def _hastened(worker: Worker, signum: int) -> tuple[int, str]:
    """The exit status of a worker that failed, and the signal of ours that cut its end short, or "".

    Python ends with the status that it says, unless it is held up on the way, and our signal is
    quicker: which of the two it was would be chance.
    """
    end, code = _own_end(worker), worker.exitcode or 0
    told = 0 < worker.signalled_ns < worker.died_ns
    if end is None or not told or code not in {-signum, -SIGKILL}:
        return code, ""
    return end.status, signal_name(-code) or f"signal {-code}"


def _evidence(worker: Worker, stdouts: Mapping[int, str], stderrs: Mapping[int, str]) -> Evidence:
    stderr = stderrs.get(worker.rank, "")
    return Evidence(
        core_dumped=worker.core_dumped,
        duration=(worker.died_ns - worker.started_ns) / 1e9,
        last_lines=final_lines(stderr, worker.exitcode or 0) if stderr else (),
        stdout=stdouts.get(worker.rank, ""),
        stderr=stderr,
        oom=worker.scene.oom,
        shared_memory=worker.scene.shared_memory,
        core=worker.scene.core,
    )
