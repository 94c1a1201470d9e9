"""What the launcher does when its guardian is gone: the guarded have become its own children."""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING

from procession._guardian.sweep import PATIENCE, send
from procession._os import proc
from procession._os.deaths import peek, reap
from procession._os.kernel import open_pidfd

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from procession._loop.gang import Worker

_SIGKILL = 9
_ROUND = 0.05  # seconds between rounds where no pidfd tells of a death
Named = list[tuple[int, str]]


def take_over(workers: Sequence[Worker], mark: bytes) -> tuple[Named, Named]:
    """Kill and reap a gang whose guardian has ended.

    The launcher is the user's own process: only what the gang owns is touched, never another child.
    That is the workers, their descendants, what still stands in their sessions, and what bears the
    run's mark in its environment.

    Args:
        workers: Those whose death is not known yet; their ``exitcode`` is filled in.
        mark: ``PROCESSION_RUN_ID=…`` as it stands in the workers' environment.

    Returns:
        ``(killed, stuck)`` beyond the workers: pid and name of each process.
    """
    leaders = {worker.pid for worker in workers}
    killed: dict[int, str] = {}
    deadline = time.monotonic() + PATIENCE
    while (found := _owned(leaders, mark)) and time.monotonic() < deadline:
        killed.update({pid: stat.name for pid, stat in found.items() if send(pid, _SIGKILL)})
        _wait_for_any(found)
        _reap(found.keys() - leaders)
    for worker in workers:
        _note_end(worker)
    stuck = [(pid, stat.name) for pid, stat in found.items()]
    return [(pid, name) for pid, name in killed.items() if pid not in leaders], stuck


def _owned(leaders: set[int], mark: bytes) -> dict[int, proc.Stat]:
    ours = proc.living(proc.children(os.getpid()))
    in_session = [pid for pid, stat in ours.items() if stat.session in leaders]
    roots = {*leaders, *in_session, *proc.bearers(mark)} - {os.getpid()}
    return proc.living({*roots, *proc.descendants(roots)})


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
