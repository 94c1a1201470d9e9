"""Ending what is left of a run that nobody looks after: launcher and guardian were killed together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from procession._guardian.sweep import end_all, wait_for_any
from procession._os.cgroup import Leaf, leaf_around, run_of_leaf
from procession._os.members import Members, members
from procession._os.proc import Stat, ancestry, everybody

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from procession._guardian.sweep import Remains


def end_run(run_id: str) -> tuple[Remains, Remains]:
    """Kill every process of a run, round after round, until none lives or none changes.

    Returns:
        ``(killed, stuck)``: what was killed, and what could not die.
    """
    leaves: dict[str, Leaf] = {}

    def find() -> dict[int, Stat]:
        found = remains(members(run_id))
        leaves.update({path: Leaf(path) for path in map(leaf_around, found) if path is not None})
        return found

    def settle(pids: Iterable[int]) -> None:
        for leaf in leaves.values():
            leaf.kill()
        wait_for_any(pids)

    ended = end_all(find, settle)
    for leaf in leaves.values():
        leaf.remove()
    return ended


def remove_deserted_cgroups(paths: Iterable[str], runs: Collection[str]) -> None:
    """Remove the cgroups of runs that are over; none with a process in it.

    Args:
        paths: Cgroups of runs, listed before ``runs`` were: a run has its lock before its cgroup, so
            that of one which is just being started is not taken for deserted.
        runs: Those that somebody looks after.
    """
    for path in paths:
        if run_of_leaf(path) not in runs:
            Leaf(path).remove()


def remains(run: Members) -> dict[int, Stat]:
    """Return what lives of a run; but not this process and those that it comes from.

    Who asks from a shell that a worker has opened is of the run too.
    """
    all_stats = everybody()
    spared = set(ancestry(os.getpid(), all_stats))
    found = family(run, all_stats)
    return {pid: stat for pid, stat in found.items() if stat.alive and pid not in spared}


def family(run: Members, all_stats: Mapping[int, Stat]) -> dict[int, Stat]:
    """Return a run's members, their descendants, and the sessions of those that hold its lock. Pure.

    A session with a holder of the lock was begun in the run, since workers are born into sessions of
    their own. One with a mere bearer of the environment may be anybody's who has copied a variable.
    """
    sessions = {all_stats[pid].session for pid in run.holders if pid in all_stats}
    roots = {pid for pid, stat in all_stats.items() if pid in run.pids or stat.session in sessions}
    return {pid: stat for pid, stat in all_stats.items() if _comes_from(pid, roots, all_stats)}


def _comes_from(pid: int, roots: set[int], all_stats: Mapping[int, Stat]) -> bool:
    return not roots.isdisjoint(ancestry(pid, all_stats))
