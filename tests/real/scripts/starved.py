"""A program that launches where little is left: ``starved.py ENTRY LOGS WHAT SPARE``.

WHAT is a limit, NOFILE or NPROC; SPARE is how much of it is left to a gang of 64. Prints the error's
name and the local rank that it befell.
"""

import errno
import os
import resource
import sys

from procession.multiprocessing import DefaultLogsSpecs, Std, start_processes
from procession.testing import children

RANKS = 64


def used(what: str) -> int:
    if what == "NOFILE":
        return len(os.listdir("/proc/self/fd"))
    return sum(map(threads, filter(str.isdigit, os.listdir("/proc"))))


def threads(pid: str) -> int:
    """How many a process has, if it is this user's."""
    try:
        ours = os.stat(f"/proc/{pid}").st_uid == os.getuid()
        return len(os.listdir(f"/proc/{pid}/task")) if ours else 0
    except OSError:
        return 0


def main(entry: str, logs: str, what: str, spare: int) -> None:
    binary = entry == "binary"
    limit = getattr(resource, f"RLIMIT_{what}")
    command = children.command(children.obeys)
    _, most = resource.getrlimit(limit)
    resource.setrlimit(limit, (used(what) + spare, most))
    try:
        context = start_processes(
            "w",
            command[0] if binary else children.obeys,
            dict.fromkeys(range(RANKS), tuple(command[1:]) if binary else ()),
            {rank: {} for rank in range(RANKS)},
            DefaultLogsSpecs(logs, redirects=Std.ALL),
            start_method="spawn" if binary else entry,
        )
    except OSError as error:
        print(errno.errorcode[error.errno or 0])
    else:
        context.close(timeout=0)
        print("started")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
