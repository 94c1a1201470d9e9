"""What the launcher does when its guardian is gone: the guarded have become its own children."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from procession._guardian.sweep import end_all, wait_for_any
from procession._os import proc
from procession._os.deaths import peek, reap
from procession._os.members import members

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from procession._guardian.sweep import Remains
    from procession._loop.worker import Worker
    from procession._os.members import Members
    from procession._os.runlock import FileId

_SIGKILL = 9


class Estate:
    """How to tell what a gang owns: by what it inherited, and among the children of the launcher.

    Args:
        run_id: The run's id, as its lock and the workers' environment name it.
        lock: That lock.
        exclusive: The launcher has no children but the gang's (the command); else its own children
            are told apart: those it had before, and those of its own session, which no descendant
            of a worker can have entered (setsid(2) only makes new ones).
    """

    def __init__(self, run_id: str, lock: FileId, *, exclusive: bool) -> None:
        self._run_id = run_id
        self._lock = lock
        self._exclusive = exclusive
        self._before = frozenset(proc.children(os.getpid()))

    def find(self, leaders: set[int]) -> dict[int, proc.Stat]:
        """Return what lives of the gang whose workers are ``leaders``."""
        me, run = os.getpid(), members(self._run_id)
        others = namesakes(run, self._lock, me)
        marked = unguarded(run.pids, others, me, proc.everybody()) if others else run.pids
        roots = {*leaders, *self.adopted(leaders), *marked} - {me}
        return proc.living({*roots, *proc.descendants(roots)})

    def adopted(self, leaders: set[int]) -> list[int]:
        """Return the children of this process that the gang left, living or dead."""
        fresh = ((pid, proc.stat(pid)) for pid in proc.children(os.getpid()))
        return [
            pid
            for pid, stat in fresh
            if stat and pid not in self._before and self._is_ours(pid, stat, leaders)
        ]

    def _is_ours(self, pid: int, stat: proc.Stat, leaders: set[int]) -> bool:
        # A child that leads its session may be one that the caller started so; a member of a
        # session whose leader is gone has been orphaned, and orphans come from the gang.
        orphaned = stat.session not in (pid, os.getsid(0))
        return self._exclusive or stat.session in leaders or orphaned


def namesakes(run: Members, lock: FileId, me: int) -> set[int]:
    """Return who looks after other gangs of the same name: each has a lock of its own. Pure.

    Args:
        run: Who bears the name, which callers give, to two gangs if they like.
        lock: Our gang's.
        me: This process.
    """
    return {pid for pid in run.keepers - {me} if lock not in run.locks[pid]}


def unguarded(
    marked: set[int], others: set[int], me: int, all_stats: Mapping[int, proc.Stat]
) -> set[int]:
    """Return those of the marked processes that nobody else looks after. Pure.

    Args:
        marked: They bear our run's name.
        others: Who looks after another gang; they are above its processes or, where we are a worker of
            it, above us.
        me: This process.
        all_stats: Everybody.
    """

    def is_anothers(pid: int) -> bool:
        above = (each for each in proc.ancestry(pid, all_stats) if each == me or each in others)
        return next(above, me) in others

    whence = set(proc.ancestry(me, all_stats))
    return {pid for pid in marked - whence if not is_anothers(pid)}


def take_over(workers: Sequence[Worker], estate: Estate) -> tuple[Remains, Remains]:
    """Kill and reap a gang whose guardian has ended.

    Args:
        workers: Those whose death is not known yet; their ``exitcode`` is filled in.
        estate: Tells what else is the gang's.

    Returns:
        ``(killed, stuck)``: what was killed beside the workers, and what could not die.
    """
    leaders = {worker.pid for worker in workers}
    found: set[int] = set()

    def settle(pids: Iterable[int]) -> None:
        found.update(pids)
        wait_for_any(pids)

    killed, stuck = end_all(lambda: estate.find(leaders), settle, leaders)
    _reap({*found, *estate.adopted(leaders)} - leaders)
    for worker in workers:
        _note_end(worker)
    return [left for left in killed if left[0] not in leaders], stuck


def _reap(pids: Iterable[int]) -> None:
    for pid in pids:
        reap(pid)


def _note_end(worker: Worker) -> None:
    ending = peek(worker.pid)
    worker.exitcode = ending.exitcode if ending else -_SIGKILL
    worker.core_dumped = bool(ending and ending.core_dumped)
    worker.died_ns = time.monotonic_ns()
    reap(worker.pid)
