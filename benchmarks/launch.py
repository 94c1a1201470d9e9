"""What a launch costs: four workers that do nothing, and the launcher's memory while they run."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks.processes import rss, tree
from benchmarks.timing import OURS, Benchmark

WORKERS = 4
PATIENCE = 60  # seconds
COMMANDS = {OURS: ["procession", "run"], "torchrun": ["torchrun"]}
# A file: torchrun would make of the $$ of a command line a single $.
TELL_AND_SLEEP = os.path.join(os.path.dirname(__file__), "tell_and_sleep.sh")


def command(peer: str, *worker: str) -> list[str]:
    """The peer's command line for ``WORKERS`` copies of ``worker``, from this environment."""
    return [*beside_python(COMMANDS[peer]), f"--nproc-per-node={WORKERS}", "--no-python", *worker]


def beside_python(command: list[str]) -> list[str]:
    """The command with the path of its program, which is this environment's."""
    name, *rest = command
    found = shutil.which(name, path=os.path.dirname(sys.executable))
    if found is None:
        sys.exit(f"{name} is not beside {sys.executable}; make bench makes an environment with it")
    return [found, *rest]


def seconds_of_a_run(peer: str) -> float:
    argv = command(peer, "/bin/true")
    with tempfile.TemporaryDirectory() as cwd:
        begin = time.perf_counter()
        subprocess.run(argv, check=True, cwd=cwd, capture_output=True)
        return time.perf_counter() - begin


def memory_while_running(peer: str) -> float:
    """MB of all processes of a run but the workers themselves."""
    with tempfile.TemporaryDirectory() as cwd:
        fifo = os.path.join(cwd, "pids")
        os.mkfifo(fifo)
        with running(command(peer, "sh", TELL_AND_SLEEP, fifo), cwd) as launcher:
            workers = read_pids(fifo)
            return sum(map(rss, tree(launcher) - workers))


def read_pids(fifo: str) -> set[int]:
    """The pids that the workers write, once all have."""
    fd, text = os.open(fifo, os.O_RDWR), b""  # not O_RDONLY: it would end between two writers
    try:
        while text.count(b"\n") < WORKERS:
            if not select.select([fd], [], [], PATIENCE)[0]:
                sys.exit(f"{WORKERS} workers did not start within {PATIENCE} s")
            text += os.read(fd, 4096)
    finally:
        os.close(fd)
    return set(map(int, text.split()))


@contextmanager
def running(argv: list[str], cwd: str) -> Iterator[int]:
    process = subprocess.Popen(argv, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def peers(sample: Callable[[str], float]) -> dict[str, Callable[[], float]]:
    return {peer: partial(sample, peer) for peer in COMMANDS}


BENCHMARKS = [
    Benchmark(
        "launch-time", f"run of {WORKERS} x /bin/true, time", "s", peers(seconds_of_a_run), 20
    ),
    Benchmark(
        "launch-memory",
        f"launcher and guardian while {WORKERS} x sleep run, memory",
        "MB",
        peers(memory_while_running),
        5,
    ),
]
