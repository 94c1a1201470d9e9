"""``failing_hosts.py ENDPOINT``: two hosts, which are two commands, whose gangs fail one after the other.

Prints a JSON object: from a worker's death on one host to the SIGTERM of the other host's workers, the
median and the 99th percentile; and to the first line of the last worker of the next gang, in seconds.

``failing_hosts.py --worker FILE``: a worker of theirs. It tells what happens to it with its gang and
CLOCK_MONOTONIC in one line of the file.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

GANGS = 40
HOSTS = 2
WORKERS = 2  # of a host


def work(path: str) -> None:
    gang = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    file = os.open(path, os.O_RDWR | os.O_APPEND)

    def tell(what: str) -> None:
        os.write(file, f"{what} {gang} {time.monotonic()}\n".encode())

    def told(*_: Any) -> None:
        tell("told" if os.environ["GROUP_RANK"] == "1" else "beside")
        os._exit(0)

    signal.signal(signal.SIGTERM, told)
    tell("begun")
    if gang == GANGS:
        return
    if os.environ["RANK"] == "0":
        begun = f"begun {gang} "
        while os.pread(file, 2**20, 0).decode().count(begun) < HOSTS * WORKERS:
            time.sleep(0.005)
        time.sleep(0.05)  # all are in their sleep
        tell("died")
        os._exit(1)
    time.sleep(600)


def run(endpoint: str) -> dict[str, list[tuple[int, float]]]:
    """What workers told: of each word the gangs and times."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "told")
        open(path, "w").close()
        options = ("--nnodes", str(HOSTS), "-n", str(WORKERS), "--max-restarts", str(GANGS))
        lease = ("--rdzv-conf", "lease=30")  # nothing of this is about a lost host
        meeting = ("--rdzv-backend", "etcd", "--rdzv-endpoint", endpoint, "--rdzv-id", "failing")
        command = [sys.executable, "-m", "procession", "run", *options, *meeting, *lease]
        hosts = [
            subprocess.Popen(
                [*command, "--node-rank", str(rank), __file__, "--worker", path],
                cwd=directory,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for rank in range(HOSTS)
        ]
        for host in hosts:
            if host.wait(timeout=100):
                raise RuntimeError(f"a host has ended with {host.returncode}")
        found: dict[str, list[tuple[int, float]]] = {}
        with open(path) as told:
            for what, gang, at in map(str.split, told):
                found.setdefault(what, []).append((int(gang), float(at)))
        return found


def figures(told: dict[str, list[tuple[int, float]]]) -> dict[str, float]:
    died = dict(told["died"])
    signalled = [at - died[gang] for gang, at in told["told"]]
    begun: dict[int, float] = {}
    for gang, at in told["begun"]:
        begun[gang] = max(at, begun.get(gang, 0.0))
    again = [begun[gang + 1] - died[gang] for gang in died]
    return {
        "p50": statistics.median(signalled),
        "p99": statistics.quantiles(signalled, n=100)[98],
        "again": statistics.median(again),
    }


if __name__ == "__main__":
    if sys.argv[1] == "--worker":
        work(sys.argv[2])
    else:
        print(json.dumps(figures(run(sys.argv[1]))))
