"""Starts a gang again and again, with more memory each time: ``out_of_memory.py METHOD LOGS``.

Its guardian is short of it (RLIMIT_AS), from the moment when it is there; what it starts inherits that.
Each start is made by a fork of this process. Prints a line for each, "bytes:outcome", and ends with the
first that is "done".
"""

import os
import resource
import sys

from procession._guardian import client
from procession.errors import ProcessionError
from procession.multiprocessing import DefaultLogsSpecs, Std, Supervision, start_processes

RANKS = range(4)
PATIENCE = 10.0  # seconds, for an interpreter that never ends: see BOUNDED in test_exhaustion.py
ROOMS = [0, *(1 << power for power in range(17, 31))]  # bytes beside what the guardian begins with


def used(pid: int) -> int:
    """The bytes of a process's address space."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def starve_guardians(room: int) -> None:
    """Have every guardian that is made be short of memory; it is as real as before."""
    made = client.Guardian.__init__

    def init(self, pid, *rest) -> None:
        made(self, pid, *rest)
        resource.prlimit(pid, resource.RLIMIT_AS, (used(pid) + room, resource.RLIM_INFINITY))

    client.Guardian.__init__ = init


def start(method: str, logs: str) -> str:
    binary = method == "binary"
    try:
        context = start_processes(
            name="m",
            entrypoint="true" if binary else os.getpid,
            args=dict.fromkeys(RANKS, ()),
            envs={rank: {} for rank in RANKS},
            logs_specs=DefaultLogsSpecs(logs, redirects=Std.ALL),
            start_method="spawn" if binary else method,
            supervision=Supervision(shutdown_timeout=0, run_id=os.path.basename(logs)),
        )
        with context:
            result = context.wait(PATIENCE)
    except (OSError, ProcessionError) as error:
        return type(error).__name__
    if result is None:
        return "ended by us"
    return "failed" if result.is_failed() else "done"


def main(method: str, logs: str) -> None:
    for room in ROOMS:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            starve_guardians(room)
            os.write(writer, start(method, f"{logs}/memory-{os.getpid()}").encode())
            os._exit(0)
        os.close(writer)
        said = os.read(reader, 100).decode()
        os.close(reader)
        os.waitpid(pid, 0)
        print(f"{room}:{said}", flush=True)
        if said == "done":
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
