"""Ending every descendant of a process, whatever it ignores, forks or hides behind."""

from __future__ import annotations

import os
import time

from procession._os.lean import SIGCONT, SIGKILL
from procession._os.proc import descendants, living

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from procession._os.proc import Stat

    Named = list[tuple[int, str]]

# A process in uninterruptible sleep (state D) does not die of SIGKILL before its system call ends;
# a setuid child of another user cannot be signalled at all. Neither is waited for beyond this.
PATIENCE = 2.0  # seconds without any change among the survivors
_PAUSE = 0.02  # seconds between looks where no child's death wakes us earlier


def sweep(root: int, settle: Callable[[float], None]) -> tuple[Named, Named]:
    """Kill the descendants of ``root``, round after round, until none lives or none changes.

    A round kills all that it sees, so a process that forks faster than one round can look is met
    again in the next, together with its children.

    Args:
        root: A subreaper, so that whatever is orphaned meanwhile stays below it.
        settle: Waits at most so many seconds for the deaths of children of ``root`` and reaps them.

    Returns:
        ``(killed, stuck)``: pid and name of every process that was killed, and of those that live on.
    """
    killed: dict[int, str] = {}
    survivors: frozenset[int] = frozenset()
    deadline = time.monotonic() + PATIENCE
    while found := living(descendants([root])):
        if survivors != found.keys():
            survivors, deadline = frozenset(found), time.monotonic() + PATIENCE
        elif time.monotonic() > deadline:
            break
        killed.update(_kill_all(found))
        settle(_PAUSE)
    stuck = [(pid, stat.name) for pid, stat in found.items()]
    return [item for item in killed.items() if item not in stuck], stuck


def _kill_all(found: dict[int, Stat]) -> Named:
    return [(pid, stat.name) for pid, stat in found.items() if send(pid, SIGKILL)]


def send(pid: int, signum: int) -> bool:
    """Send ``signum``; False if the process is gone or belongs to somebody else."""
    try:
        os.kill(pid, signum)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def wake_and_send(pid: int, signum: int) -> bool:
    """Send ``signum`` and SIGCONT, so that a stopped process can act on it."""
    return send(pid, signum) and send(pid, SIGCONT)
