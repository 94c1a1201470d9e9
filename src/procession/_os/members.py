"""Which processes belong to a run, by what they have inherited from it: its lock and its environment.

One pass over /proc finds all runs. Neither mark is enough alone: who starts programs with all other
fds closed (Python's ``subprocess``) drops the lock, ``env -i`` the environment; a forked function never
had an environment of its own in /proc/<pid>/environ, which shows what execve(2) was given.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from procession._os.proc import variable
from procession._os.runlock import is_locked, plain_id, run_of_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from procession._os.runlock import FileId

RUN_ID = "PROCESSION_RUN_ID"
_WRITES = 0o200  # in the mode of /proc/<pid>/fd/<n>: the file is open for writing (proc_pid_fd(5))


class Members:
    """What is there of one run.

    Attributes:
        holders: Pids that have its lock open for reading, each with the lock's path in /proc.
        bearers: Pids whose initial environment names it.
        keepers: Pids that have its lock open for writing, which look after it.
        locks: Pids of both kinds, each with the locks that it has open, as `FileId`s: more gangs than
            one may have been given the same id, and each of them has a lock of its own.
    """

    def __init__(self) -> None:
        self.holders: dict[int, str] = {}
        self.bearers: set[int] = set()
        self.keepers: set[int] = set()
        self.locks: dict[int, set[FileId]] = {}

    @property
    def pids(self) -> set[int]:
        """All that was started by the run, its guardian among them; not its launcher."""
        return {*self.holders, *self.bearers}

    @property
    def looked_after(self) -> bool:
        """True while its launcher or its guardian lives."""
        return bool(self.keepers) or is_locked(self.holders.values())


def all_members(user: int | None = None) -> dict[str, Members]:
    """Return what is there of every run, by its id (``plain_id``).

    Args:
        user: Only processes of this uid; None for all that may be looked at.
    """
    runs: dict[str, Members] = {}
    for pid in _pids(user):
        if bears := plain_id(variable(pid, RUN_ID)):
            runs.setdefault(bears, Members()).bearers.add(pid)
        for run_id, path, keeps, lock in _locks(pid):
            members = runs.setdefault(run_id, Members())
            members.locks.setdefault(pid, set()).add(lock)
            if keeps:
                members.keepers.add(pid)
            else:
                members.holders[pid] = path
    return runs


def members(run_id: str) -> Members:
    """Return what is there of the run ``run_id``."""
    return all_members().get(plain_id(run_id)) or Members()


def _pids(user: int | None) -> Iterator[int]:
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    for name in names:
        if name.isdigit() and (user is None or _owner(name) == user):
            yield int(name)


def _owner(name: str) -> int | None:
    try:
        return os.stat(f"/proc/{name}").st_uid
    except OSError:
        return None


def _locks(pid: int) -> Iterator[tuple[str, str, bool, FileId]]:
    """The locks that a process has open: run id, path in /proc, whether for writing, and which it is."""
    directory = f"/proc/{pid}/fd"
    try:
        names = os.listdir(directory)
    except OSError:
        return
    for name in names:
        path = f"{directory}/{name}"
        try:
            run_id = run_of_lock(os.readlink(path))
            if run_id is not None:
                lock = os.stat(path)
                keeps = bool(os.lstat(path).st_mode & _WRITES)
                yield run_id, path, keeps, (lock.st_dev, lock.st_ino)
        except OSError:  # closed meanwhile
            continue
