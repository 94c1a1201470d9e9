"""What the launcher does when its guardian is gone: the guarded have become its own children."""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING

from procession._guardian.sweep import PATIENCE, describe, send
from procession._os import proc
from procession._os.deaths import peek, reap
from procession._os.kernel import open_pidfd

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from procession._guardian.sweep import Left, Remains
    from procession._loop.worker import Worker

_SIGKILL = 9
_ROUND = 0.05  # seconds between rounds where no pidfd tells of a death


class Estate:
    """How to tell what a gang owns among the children of the launcher, which is the user's process.

    Args:
        run_id: The run's id, as it stands in the workers' environment.
        exclusive: The launcher has no children but the gang's (the command); else its own children
            are told apart: those it had before, and those of its own session, which no descendant
            of a worker can have entered (setsid(2) only makes new ones).
    """

    def __init__(self, run_id: str, *, exclusive: bool) -> None:
        self._mark = f"PROCESSION_RUN_ID={run_id}".encode()
        self._exclusive = exclusive
        self._before = frozenset(proc.children(os.getpid()))

    def find(self, leaders: set[int]) -> dict[int, proc.Stat]:
        """Return what lives of the gang whose workers are ``leaders``."""
        me = os.getpid()
        adopted = proc.living(set(proc.children(me)) - self._before)
        ours = [pid for pid, stat in adopted.items() if self._is_ours(pid, stat, leaders)]
        roots = {*leaders, *ours, *proc.bearers(self._mark)} - {me}
        return proc.living({*roots, *proc.descendants(roots)})

    def _is_ours(self, pid: int, stat: proc.Stat, leaders: set[int]) -> bool:
        # A child that leads its session may be one that the caller started so; a member of a
        # session whose leader is gone has been orphaned, and orphans come from the gang.
        orphaned = stat.session not in (pid, os.getsid(0))
        return self._exclusive or stat.session in leaders or orphaned


def take_over(workers: Sequence[Worker], estate: Estate) -> tuple[Remains, Remains]:
    """Kill and reap a gang whose guardian has ended.

    Args:
        workers: Those whose death is not known yet; their ``exitcode`` is filled in.
        estate: Tells what else is the gang's.

    Returns:
        ``(killed, stuck)``: what was killed beside the workers, and what could not die.
    """
    leaders = {worker.pid for worker in workers}
    killed: dict[int, Left] = {}
    deadline = time.monotonic() + PATIENCE
    while (found := estate.find(leaders)) and time.monotonic() < deadline:
        remains = describe(found, leaders)
        killed.update({left[0]: left for left in remains if send(left[0], _SIGKILL)})
        _wait_for_any(found)
        _reap(found.keys() - leaders)
    for worker in workers:
        _note_end(worker)
    ended = [left for pid, left in killed.items() if pid not in leaders and pid not in found]
    return ended, describe(found, leaders)


def _wait_for_any(pids: Iterable[int]) -> None:
    poller = select.poll()
    fds = [fd for fd in map(open_pidfd, pids) if fd is not None]
    for fd in fds:
        poller.register(fd, select.POLLIN)
    poller.poll(_ROUND * 1000)
    for fd in fds:
        os.close(fd)


def _reap(pids: Iterable[int]) -> None:
    for pid in pids:
        reap(pid)


def _note_end(worker: Worker) -> None:
    ending = peek(worker.pid)
    worker.exitcode = ending.exitcode if ending else -_SIGKILL
    worker.core_dumped = bool(ending and ending.core_dumped)
    worker.died_ns = time.monotonic_ns()
    reap(worker.pid)
