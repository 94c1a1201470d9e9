"""Ending every descendant of a process, whatever it ignores, forks or hides behind."""

from __future__ import annotations

import os
import time

from procession._os.lean import SIGCONT, SIGKILL
from procession._os.proc import descendants, living, variable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from procession._os.proc import Stat

    # pid, name, session, and the error file that its environment names: both tell whose it was
    Left = tuple[int, str, int, str]
    Remains = list[Left]

# A process in uninterruptible sleep (state D) does not die of SIGKILL before its system call ends;
# a setuid child of another user cannot be signalled at all. Neither is waited for beyond this.
PATIENCE = 2.0  # seconds without any change among the survivors
_PAUSE = 0.02  # seconds between looks where no child's death wakes us earlier


def sweep(
    root: int,
    settle: Callable[[float], None],
    leaders: Collection[int] = (),
    kept: frozenset[int] = frozenset(),
) -> tuple[Remains, Remains]:
    """Kill the descendants of ``root``, round after round, until none lives or none changes.

    A round kills all that it sees, so a process that forks faster than one round can look is met
    again in the next, together with its children.

    Args:
        root: A subreaper, so that whatever is orphaned meanwhile stays below it.
        settle: Waits at most so many seconds for the deaths of children of ``root`` and reaps them.
        leaders: The workers, which need no description: they are killed as the others.
        kept: Descendants that are to live on; theirs are not.

    Returns:
        ``(killed, stuck)``: every process that was killed, and those that live on.
    """
    killed: dict[int, Left] = {}
    survivors: frozenset[int] = frozenset()
    deadline = time.monotonic() + PATIENCE
    while found := living(set(descendants([root])) - kept):
        if survivors != found.keys():
            survivors, deadline = frozenset(found), time.monotonic() + PATIENCE
        elif time.monotonic() > deadline:
            break
        killed.update({left[0]: left for left in _kill_all(found, leaders)})
        settle(_PAUSE)
    return [left for pid, left in killed.items() if pid not in found], describe(found, leaders)


def _kill_all(found: dict[int, Stat], leaders: Collection[int]) -> Remains:
    return [left for left in describe(found, leaders) if send(left[0], SIGKILL)]


def describe(found: dict[int, Stat], leaders: Collection[int]) -> Remains:
    """Say what is to be ended and whose it was, while its environment can still be read."""
    return [
        (pid, stat.name, stat.session, _mark(pid, stat, leaders)) for pid, stat in found.items()
    ]


def _mark(pid: int, stat: Stat, leaders: Collection[int]) -> str:
    known = pid in leaders or stat.session in leaders
    return "" if known else variable(pid, "TORCHELASTIC_ERROR_FILE")


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
