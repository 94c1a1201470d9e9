"""Functions for workers of a fork server; as a script, a launcher: ``warm.py MODULE LOGS``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any


def is_imported(name: str) -> bool:
    imported = name in sys.modules
    print("rank", os.environ["LOCAL_RANK"])
    return imported


def environment_at_import() -> tuple[Any, ...]:
    at_import = sys.modules["pre_counts"].AT_IMPORT
    return at_import.get("SHARED"), at_import.get("LOCAL_RANK"), os.environ["LOCAL_RANK"]


def family() -> tuple[int, int, bool]:
    parent = os.getppid()
    time.sleep(0.05)
    return os.getpid(), parent if parent == os.getppid() else -1, os.getsid(0) == os.getpid()


def leave_a_daemon_and_fail(path: str) -> None:
    if path:
        daemon = subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True, env={})
        with open(path, "w") as file:
            file.write(str(daemon.pid))
        os._exit(9)
    wait_for_ever()


def wait_for_ever() -> None:
    while True:
        signal.pause()


def die_of_sigkill(pause: float) -> None:
    time.sleep(pause)
    os.kill(os.getpid(), signal.SIGKILL)


def main(module: str, logs: str) -> None:
    from procession.multiprocessing import DefaultLogsSpecs, Supervision, start_processes

    start_processes(
        "w",
        wait_for_ever,
        {0: (), 1: ()},
        {0: {}, 1: {}},
        DefaultLogsSpecs(logs),
        start_method="forkserver",
        supervision=Supervision(preload=(module,)),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
