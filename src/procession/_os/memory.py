"""What the kernel counts of memory that ran out: OOM kills by cgroup, and the space of /dev/shm.

The counter is ``oom_kill``, of ``memory.events`` in cgroup v2 (there with all cgroups below), of
``memory.oom_control`` in v1 (Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst). It counts
the victims that were in the cgroup, whatever ran out: its own limit, one above it, or the host.
/proc/vmstat counts the victims of the whole host, whoever they belonged to.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from procession._os import mounts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from procession._os.mounts import Mount

HOST = "/proc/vmstat"


class Oom(NamedTuple):
    """What was counted between a gang's start and a death.

    Attributes:
        file: The counter: the memory cgroup's, or the whole host's.
        before: What it said at the start; None of a cgroup that the worker entered later.
        now: What it said at the death.
        sure: A kill was counted in the cgroup, and no earlier death is explained by it.
    """

    file: str
    before: int | None
    now: int
    sure: bool

    @property
    def moved(self) -> bool:
        """False if nothing was killed for lack of memory: then it was somebody else."""
        return self.now > (self.before or 0)


class Space(NamedTuple):
    """Bytes of a file system."""

    free: int
    size: int


class OomWatch:
    """Knows how many OOM kills were counted when it was made.

    A worker is in the cgroup of who started it, unless it moves. Where it went is asked of its corpse,
    which v2 answers; v1 shows every zombie in the root (kernel/cgroup/cgroup.c, proc_cgroup_show).
    """

    def __init__(self) -> None:
        self._mounts = mounts.read()
        self._own = self._counter(os.getpid())
        self._before = {file: counted(_text(file)) for file in (self._own, HOST) if file}
        self._explained = 0

    def look(self, pid: int, *, killed: bool) -> Oom | None:
        """Return what was counted until the death of ``pid``, which has not been reaped.

        The cgroup's counter is told if it moved, else the host's; None if neither can be read.

        Args:
            pid: The process.
            killed: It died of SIGKILL, so that one of the kills may be its own.
        """
        files = [file for file in (self._own, self._counter(pid), HOST) if file]
        readings = [oom for oom in map(self._reading, files) if oom is not None]
        oom = next((oom for oom in readings if oom.moved), None)
        self._explained += killed and oom is not None and oom.sure
        return oom or next((oom for oom in readings if oom.file == HOST), None)

    def _reading(self, file: str) -> Oom | None:
        before, now = self._before.get(file), counted(_text(file))
        if now is None or (before is None and file in self._before):
            return None
        sure = file != HOST and before is not None and now - before > self._explained
        return Oom(file, before, now, sure)

    def _counter(self, pid: int) -> str | None:
        cgroup = _text(f"/proc/{pid}/cgroup")
        alone = all(line.endswith(":/") for line in cgroup.splitlines())  # a zombie, under v1
        return None if alone else counter_file(cgroup, mounts.parse(self._mounts))


def counter_file(cgroup: str, mounted: Iterable[Mount]) -> str | None:
    """Return the file with the counter of a process's memory cgroup. Pure.

    Args:
        cgroup: The text of /proc/<pid>/cgroup, see cgroups(7).
        mounted: What is mounted.
    """
    paths = dict(_controllers(cgroup))
    for mount in mounted:
        if mount.kind == "cgroup" and "memory" in mount.options and "memory" in paths:
            return _below(mount, paths["memory"], "memory.oom_control")
        if mount.kind == "cgroup2" and "memory" not in paths and "" in paths:
            return _below(mount, paths[""], "memory.events")
    return None


def counted(text: str) -> int | None:
    """Return the number behind ``oom_kill`` in a file of one "name number" a line. Pure."""
    for line in text.splitlines():
        name, _, number = line.partition(" ")
        if name == "oom_kill" and number.isdigit():
            return int(number)
    return None


def shared_memory() -> Space | None:
    """Return the space of /dev/shm, where DataLoader workers and NCCL keep what they share."""
    try:
        status = os.statvfs("/dev/shm")
    except OSError:
        return None
    return Space(status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize)


def _controllers(cgroup: str) -> Iterable[tuple[str, str]]:
    """Each controller's path; v2's is under ""."""
    for line in cgroup.splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        for name in names.split(","):
            yield name, path


def _below(mount: Mount, path: str, name: str) -> str | None:
    """The file in the directory that ``path``, a path within the hierarchy, has below ``mount``."""
    if not mounts.inside(mount.root, path) or path.startswith(
        "/.."
    ):  # of a cgroup not mounted here
        return None
    return os.path.join(mount.point, path[len(mount.root) :].lstrip("/"), name)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
