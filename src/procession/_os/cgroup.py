"""A cgroup of version 2 for a gang: whatever is born in it can be killed at one stroke (cgroups(7)).

Where one may be made is found in /proc/self/mountinfo and /proc/self/cgroup; it is another place on a
host with both versions, and in a container.
"""

from __future__ import annotations

import os
from contextlib import suppress

from procession._os.proc import read
from procession._os.runlock import plain_id

_PREFIX = "procession-run-"


def own_directory() -> str | None:
    """Return the directory of this process's own cgroup of version 2, None where there is none."""
    own = read("/proc/self/cgroup") or b""
    return directory_of(_mounted(), own_path(own.decode(errors="surrogateescape")))


def _mounted() -> tuple[str, str] | None:
    mounts = read("/proc/self/mountinfo") or b""
    return mounted_at(mounts.decode(errors="surrogateescape"))


def mounted_at(mountinfo: str) -> tuple[str, str] | None:
    """Return root and mount point of the cgroup2 mount (proc_pid_mountinfo(5)). Pure."""
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.startswith("cgroup2 "):
            _, _, _, root, point, *_ = fields.split()
            return root, point
    return None


def own_path(text: str) -> str | None:
    """Return the path of a process in version 2's hierarchy, which has the number 0. Pure."""
    for line in text.splitlines():
        if line.startswith("0::"):
            return line[3:]
    return None


def directory_of(mounted: tuple[str, str] | None, path: str | None) -> str | None:
    """Return where a cgroup is to be found; None if it lies outside of what is mounted. Pure."""
    if mounted is None or path is None:
        return None
    root, point = mounted
    if root == "/":
        return point + path.rstrip("/")
    below = path == root or path.startswith(f"{root}/")
    return point + path[len(root) :] if below else None


def make_leaf(run_id: str) -> Leaf:
    """Make a cgroup for a run, below the one that this process is in.

    Raises:
        OSError: There is no version 2 here (ENOENT), it may not be written to, or it cannot kill
            (before Linux 5.14); its ``filename`` is what is missing.
    """
    above = own_directory()
    if above is None:
        raise FileNotFoundError(2, os.strerror(2), "a mounted cgroup2")
    leaf = Leaf(os.path.join(above, leaf_name(run_id, os.urandom(4).hex())))
    os.mkdir(leaf.path)
    try:
        os.close(os.open(f"{leaf.path}/cgroup.kill", os.O_WRONLY | os.O_CLOEXEC))
    except OSError:
        leaf.remove()
        raise
    return leaf


def leaf_name(run_id: str, random: str) -> str:
    """The name of a run's cgroup, which an attempt before it may still have one of. Pure."""
    return f"{_PREFIX}{plain_id(run_id)}-{random}"


def run_of_leaf(path: str) -> str | None:
    """The run of a cgroup, None if it is none of a run's. Pure."""
    name = os.path.basename(path)
    return name[len(_PREFIX) :].rpartition("-")[0] if name.startswith(_PREFIX) else None


def leaf_around(pid: int) -> str | None:
    """Return the directory of the run's cgroup that a process is in, or below; None if in none."""
    path = own_path((read(f"/proc/{pid}/cgroup") or b"").decode(errors="surrogateescape")) or "/"
    while path != "/" and run_of_leaf(path) is None:
        path = os.path.dirname(path)
    return directory_of(_mounted(), path) if path != "/" else None


def leaves() -> list[str]:
    """Return the directories of all runs' cgroups below the one that this process is in."""
    above = own_directory()
    if above is None:
        return []
    with suppress(OSError):
        return [entry.path for entry in os.scandir(above) if run_of_leaf(entry.path) is not None]
    return []


class Leaf:
    """A cgroup with the processes of one gang in it.

    Attributes:
        path: Its directory.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def add(self, pid: int) -> None:
        """Move a process here, and with it all that it will start.

        One that has ended is passed over; one that may not be moved is swept as any other.
        """
        with suppress(OSError):
            _write(f"{self.path}/cgroup.procs", str(pid))

    def kill(self) -> None:
        """Send SIGKILL to all in it, those that are just being forked among them."""
        with suppress(OSError):
            _write(f"{self.path}/cgroup.kill", "1")

    def remove(self) -> None:
        """Remove it; one with somebody in it stays, and one that is gone is as it should be."""
        with suppress(OSError):
            os.rmdir(self.path)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
