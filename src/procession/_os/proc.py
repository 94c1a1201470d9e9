"""What /proc says about processes: parents, sessions, whether one is on its way out.

Every function answers for a process that may end at any moment: gone is an answer (None, empty),
not an error. Field numbers are those of proc_pid_stat(5).
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_PIECE = 1 << 16  # bytes of one read(2)
_PF_EXITING = 0x4  # include/linux/sched.h: do_exit() has begun; the status is already decided
_EXEC = 0.2  # seconds for execve(2) on a busy disk
_FILLING = 0.002  # seconds between the beginning of an environment and its end
_NOWHERE = (b"0", b"0")


class Stat:
    """The part of /proc/<pid>/stat that supervision needs.

    ``started`` is in clock ticks since boot: with it a pid names one process for ever.
    """

    __slots__ = ("flags", "name", "parent", "session", "started", "state", "threads")

    def __init__(
        self,
        name: str,
        state: str,
        parent: int,
        session: int,
        flags: int,
        started: int,
        threads: int = 1,
    ) -> None:
        self.name = name
        self.state = state
        self.parent = parent
        self.session = session
        self.flags = flags
        self.started = started
        self.threads = threads

    @property
    def alive(self) -> bool:
        """False for a zombie or a dead process; the state is that of its first thread, which may end alone."""
        return self.state not in "ZXx" or self.threads > 1

    @property
    def exiting(self) -> bool:
        """True once the process has begun to exit, whatever signal reaches it afterwards."""
        return not self.alive or bool(self.flags & _PF_EXITING)


def stat(pid: int) -> Stat | None:
    """Return the facts of ``pid``, or None if there is no such process (or no /proc)."""
    line = read(f"/proc/{pid}/stat")
    return parse_stat(line) if line else None


def is_exiting(pid: int) -> bool:
    """True once ``pid`` has begun to exit, whatever signal reaches it afterwards.

    Who exits lets go of its program microseconds after it has got PF_EXITING (exit_mm() in
    kernel/exit.c), and a link to it is had at a third of the price of all facts: workers wait for
    their signal while each of them is asked about. Only who has none is looked at more closely.
    """
    try:
        os.readlink(f"/proc/{pid}/exe")
    except OSError:
        facts = stat(pid)
        return facts is not None and facts.exiting
    return False


def parse_stat(line: bytes) -> Stat:
    """Parse a stat line; the name may hold spaces and parentheses, so it ends at the last ``)``."""
    head, _, tail = line.rpartition(b")")
    fields = tail.split()
    return Stat(
        name=head.partition(b"(")[2].decode(errors="replace"),
        state=fields[0].decode(),
        parent=int(fields[1]),
        session=int(fields[3]),
        flags=int(fields[6]),
        started=int(fields[19]),
        threads=int(fields[17]),
    )


def children(pid: int) -> list[int]:
    """Return the children of ``pid``, zombies included.

    /proc/<pid>/task/<tid>/children (CONFIG_PROC_CHILDREN) costs a read a thread; where the kernel
    lacks it, a scan of /proc by parent.
    """
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    lists = [read(f"/proc/{pid}/task/{tid}/children") for tid in threads]
    if all(found is None for found in lists):
        return [child for child, facts in everybody().items() if facts.parent == pid]
    return [int(child) for found in lists if found for child in found.split()]


def descendants(roots: Iterable[int]) -> list[int]:
    """Return every descendant of ``roots``, without them, each parent before its children."""
    found: list[int] = []
    queue = list(roots)
    seen = set(queue)
    while queue:
        fresh = [pid for pid in children(queue.pop()) if pid not in seen]
        seen.update(fresh)
        found += fresh
        queue += fresh
    return found


def living(pids: Iterable[int]) -> dict[int, Stat]:
    """Return the facts of those of ``pids`` that are neither gone nor zombies."""
    stats = ((pid, stat(pid)) for pid in pids)
    return {pid: facts for pid, facts in stats if facts is not None and facts.alive}


def catches(pid: int, signum: int) -> bool:
    """True if ``pid`` has a handler for ``signum`` (the SigCgt mask of /proc/<pid>/status)."""
    for line in (read(f"/proc/{pid}/status") or b"").splitlines():
        if line.startswith(b"SigCgt:"):
            return bool(int(line.split()[1], 16) >> (signum - 1) & 1)
    return False


def variable(pid: int, name: str) -> str:
    """Return what ``name`` was in the environment with which ``pid`` began, "" if it was not set."""
    head = os.fsencode(f"{name}=")
    for entry in _environment(pid).split(b"\0"):
        if entry.startswith(head):
            return os.fsdecode(entry[len(head) :])
    return ""


def _environment(pid: int) -> bytes:
    """Return the environment with which a process began, once it has begun.

    In the midst of execve(2) it has none: its new memory is there before it is known where in it that is
    (exec_mmap() in fs/exec.c, create_elf_tables() in fs/binfmt_elf.c). Its descriptors may be closed by
    then, so that it bears no mark at all for these microseconds, or for as long as a busy disk takes.
    """
    place: tuple[bytes, bytes] | None = _NOWHERE
    since = time.monotonic()
    while not (found := read(f"/proc/{pid}/environ")):
        before, place, now = place, _place_of_environment(pid), time.monotonic()
        since = since if place == before else now
        if now >= since + _may_take(place):
            return b""
        os.sched_yield()  # no event tells of it, and it is a matter of microseconds
    return found


def _place_of_environment(pid: int) -> tuple[bytes, bytes] | None:
    """Where its memory begins and ends that has it; None if it has no memory, or none for us to see."""
    line = read(f"/proc/{pid}/stat")
    if line is None or not _has_program(pid):
        return None
    env_start, env_end = line.rpartition(b")")[2].split()[47:49]
    return env_start, env_end


def _may_take(place: tuple[bytes, bytes] | None) -> float:
    """For how many seconds who shows no environment, but this place of it, may yet show one. Pure."""
    if place is None:
        return 0.0
    env_start, env_end = place
    return _FILLING if env_start == env_end != b"0" else _EXEC


def _has_program(pid: int) -> bool:
    try:  # a thread of the kernel has none, nor has a zombie
        return bool(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return False


def everybody() -> dict[int, Stat]:
    """Return the facts of every process."""
    stats = ((pid, stat(pid)) for pid in _all_pids())
    return {pid: facts for pid, facts in stats if facts is not None}


def ancestry(pid: int, all_stats: Mapping[int, Stat]) -> Iterator[int]:
    """Yield the pid, its parent's, and so on. Pure."""
    seen: set[int] = set()
    while pid in all_stats and pid not in seen:
        seen.add(pid)
        yield pid
        pid = all_stats[pid].parent


def limited(name: bytes, soft: int) -> list[int]:
    """Return the processes whose soft limit of this name (in /proc/<pid>/limits) is ``soft``.

    Those of other users cannot be looked into, and are not among them.
    """
    entry = b"%s %d " % (name.ljust(25), soft)
    return [pid for pid in _all_pids() if entry in (read(f"/proc/{pid}/limits") or b"")]


def _all_pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def read(path: str) -> bytes | None:
    """Return what a file of /proc holds, or None if there is no such file (any more)."""
    # Not by a file object, which asks the kernel twice as much: workers wait for their signal
    # while the facts of all are read.
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return b"".join(iter(lambda: os.read(fd, _PIECE), b""))
    except OSError:
        return None
    finally:
        os.close(fd)
