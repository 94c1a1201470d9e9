"""Ending every descendant of a process, whatever it ignores, forks or hides behind."""

from __future__ import annotations

import os
import select
import time

from procession._os.kernel import open_pidfd
from procession._os.lean import SIGCONT, SIGKILL, send_by_pidfd
from procession._os.proc import children, descendants, living, stat, variable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from procession._os.proc import Stat

    # pid, name, session, and the error file that its environment names: both tell whose it was
    Left = tuple[int, str, int, str]
    Remains = list[Left]

# A process in uninterruptible sleep (state D) does not die of SIGKILL before its system call ends;
# a setuid child of another user cannot be signalled at all. Neither is waited for beyond this.
PATIENCE = 2.0  # seconds without any change among the survivors
# Who has been killed and is to run (state R) dies once a processor is free for it.
_FOR_PROCESSORS = 30.0  # seconds likewise
_PAUSE = 0.02  # seconds between looks where no child's death wakes us earlier
_LOOK = 0.05  # the same, where all of /proc is to be looked through


def sweep(
    root: int,
    settle: Callable[[float], None],
    bury: Callable[[Iterable[int]], None],
    strike: Callable[[], None],
    leaders: Collection[int],
    number: Callable[[int], int],
    kept: frozenset[int] = frozenset(),
) -> tuple[Remains, Remains]:
    """Kill the descendants of ``root``, as ``end_all`` does.

    Args:
        root: A subreaper, so that whatever is orphaned meanwhile stays below it.
        settle: Waits at most so many seconds for the deaths of children of ``root`` and reaps them.
        bury: Reaps those of these pids that have ended, are children of ``root`` and no workers.
        strike: Kills what can be killed without being listed, a group or a cgroup at one stroke: a
            child that is just being forked into it dies too or is not born, so that no fork bomb in it
            outruns the rounds (kernel/fork.c, copy_process).
        leaders: The workers.
        number: Says what a pid is called in what is returned.
        kept: Descendants that are to live on; theirs are not.
    """

    def finish_round(_found: Iterable[int]) -> None:
        strike()
        settle(_PAUSE)

    def chase(dead: Iterable[int]) -> None:
        bury(dead)
        strike()
        for pid in children(root):  # no time to see who it is: it is ours, and shall not fork again
            if pid not in kept:
                send(pid, SIGKILL)

    return end_all(
        lambda: look(lambda: set(descendants([root])) - kept, chase),
        finish_round,
        frozenset(leaders),
        number,
    )


def look(
    listed: Callable[[], set[int]],
    chase: Callable[[Iterable[int]], None],
    living: Callable[[Iterable[int]], dict[int, Stat]] = living,
) -> dict[int, Stat]:
    """Return who lives of those that are listed; nobody only if that is sure.

    What forks and ends in the time of a look was alive when it was listed and is dead when it is looked
    at, and its child came too late for the list. So a list counts as the last one only if all on it
    were known to be dead before it was made: who ends has handed on its children by then.

    Args:
        listed: Makes a list of all there are, corpses among them.
        chase: Called with those that were found dead, some of whom were alive when they were listed. It
            reaps: a look at thousands of corpses takes so long that nobody is alive at its end.
        living: Looks at those on a list.
    """
    dead: set[int] = set()
    while True:
        pids = listed()
        found = living(pids)
        if found or pids <= dead:
            return found
        chase(pids)
        dead = pids


def end_all(
    find: Callable[[], dict[int, Stat]],
    settle: Callable[[Iterable[int]], None],
    leaders: Collection[int] = (),
    number: Callable[[int], int] = int,
) -> tuple[Remains, Remains]:
    """Kill what is found, round after round, until nothing lives or nothing changes.

    A round kills all that it sees, so a process that forks faster than one round can look is met
    again in the next, together with its children.

    Args:
        find: Returns what is to be ended and lives.
        settle: Waits for a moment for the deaths of these pids, and reaps what is ours to reap.
        leaders: The workers, which need no description: they are killed as the others.
        number: Says what a pid is called in what is returned.

    Returns:
        ``(killed, stuck)``: every process that was killed, and those that live on.
    """
    killed: dict[int, Left] = {}
    survivors: frozenset[int] = frozenset()
    since = moved = time.monotonic()
    while found := find():
        now = time.monotonic()
        if survivors != found.keys():
            survivors, since, moved = frozenset(found), now, now
        elif _are_dying(found, killed):
            moved = now
        if now > min(moved + PATIENCE, since + _FOR_PROCESSORS):
            break
        described = describe(found, leaders, number)
        killed.update({pid: described[pid] for pid, stat in found.items() if _kill(pid, stat)})
        settle(found)
    stuck = describe(found, leaders, number)
    return [left for pid, left in killed.items() if pid not in found], [*stuck.values()]


def _are_dying(found: dict[int, Stat], killed: Collection[int]) -> bool:
    """Whether some that were killed only wait for a processor: that takes as long as the host is busy.

    Of one whose first thread has ended (Z) others are still about to.
    """
    return any(stat.state in "RZ" for pid, stat in found.items() if pid in killed)


def are_busy(found: dict[int, Stat]) -> bool:
    """Whether some wait for a processor or a disk: who has been told that it is over ends of it then."""
    return any(stat.state in "RD" for stat in found.values())


def describe(
    found: dict[int, Stat], leaders: Collection[int], number: Callable[[int], int] = int
) -> dict[int, Left]:
    """Say what is to be ended and whose it was, while its environment can still be read."""
    return {
        pid: (number(pid), stat.name, number(stat.session), _mark(pid, stat, leaders))
        for pid, stat in found.items()
    }


def _mark(pid: int, stat: Stat, leaders: Collection[int]) -> str:
    known = pid in leaders or stat.session in leaders
    return "" if known else variable(pid, "TORCHELASTIC_ERROR_FILE")


def _kill(pid: int, facts: Stat) -> bool:
    """Kill the process that ``facts`` were read of: a pid may have been given to another since.

    A child's pid stays its own until this process, its parent, has reaped it.
    """
    if facts.parent == os.getpid():
        return send(pid, SIGKILL)
    pidfd = open_pidfd(pid)  # from here on it is one process, whatever becomes of the number
    try:
        now = stat(pid)
        return now is not None and now.started == facts.started and _send_by(pidfd, pid)
    finally:
        if pidfd is not None:
            os.close(pidfd)


def _send_by(pidfd: int | None, pid: int) -> bool:
    if pidfd is None:
        return send(pid, SIGKILL)
    try:
        send_by_pidfd(pidfd, SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def wait_for_any(pids: Iterable[int]) -> None:
    """Wait until one of ``pids`` has ended, for a moment only: some may have no pidfd."""
    poller = select.poll()
    fds = [fd for fd in map(open_pidfd, pids) if fd is not None]
    for fd in fds:
        poller.register(fd, select.POLLIN)
    poller.poll(_LOOK * 1000)
    for fd in fds:
        os.close(fd)


def send(pid: int, signum: int) -> bool:
    """Send ``signum``; False if the process is gone or belongs to somebody else."""
    try:
        os.kill(pid, signum)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill_group(leader: int) -> None:
    """Send SIGKILL to the process group of ``leader``, a child that has not been reaped."""
    try:
        os.killpg(leader, SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def wake_and_send(pid: int, signum: int) -> bool:
    """Send ``signum`` and SIGCONT, so that a stopped process can act on it."""
    return send(pid, signum) and send(pid, SIGCONT)
