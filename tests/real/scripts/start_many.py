"""A launcher whose guardian is killed while it starts 40 workers: ``start_many.py ENTRY LOGS``.

Prints "guardian <pid> <run id>" as soon as there is a guardian, and at the end what came of it.
"""

import sys
import time

from procession._guardian import client
from procession.errors import GuardianLostError
from procession.multiprocessing import (
    DefaultLogsSpecs,
    Std,
    Supervision,
    start_processes,
)

RANKS = range(40)


def sleep() -> None:
    time.sleep(600)


def announce() -> None:
    """Have every guardian that is made say so; it is as real as before."""
    made = client.Guardian.__init__

    def init(self, pid, sock, run_id, lock) -> None:
        made(self, pid, sock, run_id, lock)
        print("guardian", pid, run_id, flush=True)

    client.Guardian.__init__ = init


def main(entry: str, logs: str) -> None:
    announce()
    binary = entry == "binary"
    try:
        context = start_processes(
            name="many",
            entrypoint="sleep" if binary else sleep,
            args=dict.fromkeys(RANKS, ("600",) if binary else ()),
            envs={rank: {} for rank in RANKS},
            logs_specs=DefaultLogsSpecs(logs, redirects=Std.ALL),
            start_method="spawn" if binary else entry,
            supervision=Supervision(shutdown_timeout=0),
        )
        context.wait()
    except GuardianLostError:
        print("guardian lost", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
