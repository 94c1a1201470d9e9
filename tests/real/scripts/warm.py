"""Functions for workers of a fork server; as a script, a launcher: ``warm.py MODULE LOGS``."""

from __future__ import annotations

import importlib.util
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


def pid_and_import(name: str) -> tuple[int, bool]:
    return os.getpid(), is_imported(name)


def environment_at_import() -> tuple[Any, ...]:
    at_import = sys.modules["pre_counts"].AT_IMPORT
    return at_import.get("SHARED"), at_import.get("LOCAL_RANK"), os.environ["LOCAL_RANK"]


def what_an_import_changed() -> tuple[Any, ...]:
    import pre_changes  # type: ignore[import-not-found]  # noqa: F401

    names = ("BY_SITE", "BY_IMPORT", "SHARED", "FOR_THE_IMPORT", "LOCAL_RANK")
    further = importlib.util.find_spec("pre_further") is not None
    return *(os.environ.get(name) for name in names), further


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


def leave_name(path: str) -> None:
    with open(path, "a") as file:
        file.write(f"{os.environ['LOCAL_RANK']}\n")


def square(number: int) -> int:
    return number * number


def use_what_was_made() -> tuple[Any, ...]:
    made: Any = sys.modules["pre_made"]
    made.LOG.warning("logged by %s", os.environ["LOCAL_RANK"])
    with made.LOCK, made.TURNS, made.ProcessPoolExecutor(2) as processes:
        squares = list(processes.map(square, [1, 2]))
    return squares, list(made.THREADS.map(square, [1, 2])), made.PLACE.name


def draw() -> tuple[float, str]:
    import random
    import uuid

    return random.random(), str(uuid.uuid4())


def nested(logs: str) -> dict[int, int]:
    from procession.multiprocessing import DefaultLogsSpecs, start_processes

    context = start_processes(
        "inner",
        square,
        {0: (2,), 1: (3,)},
        {0: {}, 1: {}},
        DefaultLogsSpecs(logs),
        start_method="forkserver",
    )
    result = context.wait()
    return result.return_values if result is not None else {}


def many(logs: str, method: str) -> None:
    from procession.multiprocessing import DefaultLogsSpecs, start_processes

    ranks = range(100)
    context = start_processes(
        "w",
        square,
        {rank: (rank,) for rank in ranks},
        {rank: {} for rank in ranks},
        DefaultLogsSpecs(logs),
        start_method=method,
    )
    result = context.wait()
    print(len(result.return_values) if result is not None else None)


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
    if sys.argv[1] == "-":
        many(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
