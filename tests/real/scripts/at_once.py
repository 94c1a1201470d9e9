"""Four workers are killed while their guardian is stopped: ``at_once.py LOGS``.

Prints who was the first, and whose failure is: of two gangs.
"""

import os
import signal
import sys

from procession._guardian.client import spawn_guardian
from procession._guardian.kept import KeptGuardian
from procession.multiprocessing import DefaultLogsSpecs, Std, Supervision, start_processes
from procession.testing import stop, wait_gone


def main(logs: str) -> None:
    ranks = range(4)
    kept = KeptGuardian(f"at-once-{os.getpid()}", spawn_guardian)
    for first in (3, 1):
        context = start_processes(
            "w",
            "sleep",
            dict.fromkeys(ranks, ("1000",)),
            {rank: {} for rank in ranks},
            DefaultLogsSpecs(os.path.join(logs, str(first)), redirects=Std.ALL),
            supervision=Supervision(shutdown_timeout=0, guardian=kept),
        )
        pids, guardian = context.pids(), kept.have().pid
        stop(guardian)  # the launcher continues it a second later, if that comes sooner
        for rank in (first, *(rank for rank in ranks if rank != first)):
            os.kill(pids[rank], signal.SIGKILL)
            wait_gone([pids[rank]])
        os.kill(guardian, signal.SIGCONT)
        result = context.wait()
        assert result is not None
        print(first, next(iter(result.failures)), flush=True)
    os._exit(0)  # the guardian ends by itself


if __name__ == "__main__":
    main(sys.argv[1])
