"""What functions returned and raised, brought together with how their workers ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from procession._worker import reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from procession._loop.gang import Gang
    from procession._loop.worker import Worker
    from procession.multiprocessing.errors import ProcessFailure
    from procession.multiprocessing.failures import Failures
    from procession.multiprocessing.replies import Outcome

__all__ = ["settle", "wants_values"]


def wants_values(gang: Gang) -> bool:
    """True unless a worker of ``gang``, which has ended, died badly by itself: then values are of no use."""
    return not any(worker.exitcode for worker in gang.workers.values() if _by_itself(worker, gang))


def settle(
    gang: Gang,
    outcomes: Mapping[int, Outcome],
    failures: Failures,
    stopped: Mapping[int, ProcessFailure],
    logs: tuple[Mapping[int, str], Mapping[int, str]],
) -> dict[int, Any]:
    """Put what the functions have left where it belongs.

    Args:
        gang: It has ended.
        outcomes: What came of each rank's call.
        failures: Those told by exit codes. They get their exceptions, and those are added that ended
            with 0 and have not done what they were for.
        stopped: Those that we ended; they get their exceptions too.
        logs: Paths of each rank's stdout and stderr.

    Returns:
        What the functions returned; nothing where a worker died badly by itself.
    """
    for rank, failure in {**failures, **stopped}.items():
        _complete(failure, outcomes[rank])
    values = {} if failures else _values(outcomes, stopped)
    for rank, worker in gang.workers.items():
        problem = outcomes[rank].problem
        if problem is not None and worker.exitcode == 0 and _by_itself(worker, gang):
            from procession.multiprocessing.failures import failed_after_all

            failures[rank] = failed_after_all(gang, worker, problem, *logs)
            failures[rank].packed_exception = outcomes[rank].packed
            values.pop(rank, None)
    _put_in_order(failures, gang)
    return values


def _by_itself(worker: Worker, gang: Gang) -> bool:
    return gang.first_signal_ns is None or worker.died_ns < gang.first_signal_ns


def _put_in_order(failures: Failures, gang: Gang) -> None:
    def moment(item: tuple[int, ProcessFailure]) -> tuple[int, int]:
        rank, failure = item
        return failure.timestamp_ns or 0, gang.workers[rank].death_order

    in_order = sorted(failures.items(), key=moment)
    failures.clear()
    failures.update(in_order)


def _complete(failure: ProcessFailure, outcome: Outcome) -> None:
    failure.packed_exception = outcome.packed
    if outcome.stage == reply.VALUE:
        from procession.multiprocessing.failures import add_words

        add_words(failure, "its function had returned")


def _values(
    outcomes: Mapping[int, Outcome], stopped: Mapping[int, ProcessFailure]
) -> dict[int, Any]:
    """The values of those that have ended, and of those that we ended after they had returned."""
    return {
        rank: outcome.value
        for rank, outcome in outcomes.items()
        if rank not in stopped or (outcome.stage == reply.VALUE and not outcome.lost)
    }
