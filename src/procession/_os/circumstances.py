"""What a process is in and hands on to all that it starts: directory, umask, limits, affinity, niceness.

For what starts workers longer than it was made for: it is told what its launcher is in by then.
"""

from __future__ import annotations

import os

from procession._os.proc import read as read_proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    # Umask, or -1 where it is not known; limits as of getrlimit(2); CPUs; niceness; what tells the
    # working directory from others.
    Circumstances = tuple[
        int, tuple[tuple[int, int, int], ...], tuple[int, ...], int, tuple[int, int]
    ]


def circumstances() -> Circumstances:
    """Return those of the calling thread, in plain values."""
    where = os.stat(".")
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    return _umask(), _limits(), _affinity(), niceness, (where.st_dev, where.st_ino)


def enter(directory: int | str, found: Circumstances) -> None:
    """Make them those of this process, as far as it is permitted to.

    Args:
        directory: The working directory: its path, or an fd of it.
        found: The others.
    """
    import resource

    umask, limits, affinity, niceness, _ = found
    _try(os.chdir, directory)
    if umask >= 0:
        os.umask(umask)
    for which, soft, hard in limits:
        _try(resource.setrlimit, which, (soft, hard))
    if affinity:
        _try(os.sched_setaffinity, 0, affinity)
    _try(os.setpriority, os.PRIO_PROCESS, 0, niceness)


def _try(call: Callable[..., object], *arguments: Any) -> None:
    try:
        call(*arguments)
    except (OSError, ValueError):  # what only root may, where root has done it to the launcher
        return


def _umask() -> int:
    """Ask /proc: to ask umask(2) is to set it, for all threads of the caller's."""
    for line in (read_proc("/proc/self/status") or b"").splitlines():
        if line.startswith(b"Umask:"):  # since Linux 4.7
            return int(line.split()[1], 8)
    return -1


def _limits() -> tuple[tuple[int, int, int], ...]:
    import resource

    kinds = sorted(
        {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    )
    return tuple((kind, *resource.getrlimit(kind)) for kind in kinds)


def _affinity() -> tuple[int, ...]:
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()
