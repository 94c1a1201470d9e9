"""From a gang's end to its ledger, how each worker ended and what it left, and to its failures."""

from __future__ import annotations

from signal import SIGKILL
from typing import TYPE_CHECKING

from procession._report.ledger import Ledger, Life, Remnant, Stuck, fates, owner
from procession._report.words import signal_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from procession._guardian.sweep import Left
    from procession._loop.gang import Gang
    from procession._loop.worker import Worker
    from procession.multiprocessing.errors import ProcessFailure
    from procession.multiprocessing.failures import Failures

__all__ = ["failures_of", "ledger_of"]


def failures_of(
    gang: Gang, stdouts: Mapping[int, str], stderrs: Mapping[int, str]
) -> tuple[Failures, Mapping[int, ProcessFailure]]:
    """Return those that failed and those that we ended; nothing is imported for a gang without either."""
    if not any(worker.exitcode for worker in gang.workers.values()):
        return {}, {}
    from procession.multiprocessing.failures import explain

    return explain(gang, stdouts, stderrs)


def ledger_of(gang: Gang, stopped: Collection[int]) -> Ledger:
    """Return the ledger of a gang that has ended; ``stopped`` are the local ranks that we ended."""
    workers, left = gang.workers.values(), gang.leftovers
    pids = {worker.pid: worker.rank for worker in workers}
    files = {worker.error_file: worker.rank for worker in workers if worker.error_file}

    def remnants(remains: Iterable[Left], signum: int) -> Iterator[Remnant]:
        name = signal_name(signum) or f"signal {signum}"
        for pid, comm, session, error_file in remains:
            yield Remnant(pid, comm, owner(session, error_file, pids, files), name)

    return Ledger(
        fates((_life(worker, stopped) for worker in workers), gang.signum, gang.killed_ns),
        (*remnants(left.hushed, gang.signum), *remnants(left.killed, SIGKILL)),
        tuple(
            Stuck(remnant.pid, remnant.name, remnant.rank, *gang.predicaments[remnant.pid])
            for remnant in remnants(left.stuck, SIGKILL)
        ),
    )


def _life(worker: Worker, stopped: Collection[int]) -> Life:
    oom = worker.scene.oom
    return Life(
        rank=worker.rank,
        pid=worker.pid,
        exitcode=worker.exitcode,
        core_dumped=worker.core_dumped,
        started_ns=worker.started_ns,
        died_ns=worker.died_ns,
        signalled_ns=worker.signalled_ns,
        own=worker.rank not in stopped,
        oom_killed=oom is not None and oom.sure and worker.exitcode == -SIGKILL,
    )
