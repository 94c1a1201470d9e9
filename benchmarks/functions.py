"""What it costs to start functions, by every start method, and to start a failed gang again."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.launch import COMMANDS, beside_python
from benchmarks.processes import pss, tree
from benchmarks.timing import OURS, Benchmark

DRIVERS = os.path.join(os.path.dirname(__file__), "drivers")
TORCH, STDLIB = "torch", "multiprocessing"
PROGRAMS = {OURS: "ours.py", TORCH: "torchs.py", STDLIB: "stdlibs.py"}
SLOW = {"rounds": 5, "warm_up": False}  # torch takes up to half a minute for one sample


def figures(peer: str, *words: str) -> list[float]:
    """What a peer's driver prints, run in a fresh interpreter."""
    with tempfile.TemporaryDirectory() as logs:
        argv = [sys.executable, os.path.join(DRIVERS, PROGRAMS[peer]), logs, *words]
        done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, cwd=DRIVERS)
    return [float(word) for word in done.stdout.split()]


def started(peer: str, method: str, count: int, module: str = "noop") -> float:
    (seconds,) = figures(peer, method, str(count), module)
    return seconds


class Shared:
    """Samples of one kind that several benchmarks speak of: taken once, read by each from the start."""

    def __init__(self, sample: Callable[[], list[float]]) -> None:
        self._sample = sample
        self._taken: list[list[float]] = []

    def reader(self, figure: int) -> Callable[[], float]:
        """Return what reads one figure of the next sample."""
        samples = self._all()
        return lambda: next(samples)[figure]

    def _all(self) -> Iterator[list[float]]:
        index = 0
        while True:
            if index == len(self._taken):
                self._taken.append(self._sample())
            yield self._taken[index]
            index += 1


def restart(peer: str, *options: str) -> float:
    """Seconds from a rank's death to the last rank's user code running again."""
    with tempfile.TemporaryDirectory() as cwd:
        told = os.path.join(cwd, "told")
        argv = [
            *beside_python(COMMANDS[peer]),
            "--nproc-per-node=8",
            "--max-restarts=1",
            *options,
            os.path.join(DRIVERS, "restarted.py"),
            told,
        ]
        subprocess.run(argv, check=True, cwd=cwd, capture_output=True)
        with open(told) as file:
            times = [line.split() for line in file]
    died = next(float(time) for what, time in times if what == "died")
    return max(float(time) for what, time in times if what == "1") - died


def memory_while_running(peer: str) -> float:
    """MB of all processes while four torch functions run: launcher, guardian, server and workers."""
    argv = [sys.executable, os.path.join(DRIVERS, "sleepers.py"), peer]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        total = sum(map(pss, tree(process.pid)))
        process.communicate("\n")
    return total


def no_ops(method: str, times_better: float) -> Benchmark:
    return Benchmark(
        f"functions-{method}",
        f"16 functions that do nothing, start_method={method!r}, time",
        "s",
        {peer: partial(started, peer, method, 16) for peer in (OURS, TORCH)},
        times_better,
        **({} if method == "fork" else SLOW),
    )


_TORCHS = Shared(partial(figures, TORCH, "spawn", "8", "torch_noop"))
_OURS = Shared(partial(figures, OURS, "forkserver", "8", "torch_noop", "torch"))

BENCHMARKS = [
    no_ops("spawn", 60),
    no_ops("forkserver", 80),
    no_ops("fork", 1),
    *(
        Benchmark(
            f"functions-torch-{name}",
            f"8 functions whose module imports torch, fork server {words}, against spawn, time",
            "s",
            {OURS: _OURS.reader(figure), TORCH: _TORCHS.reader(0)},
            times_better,
            **SLOW,
        )
        for figure, name, words, times_better in (
            (0, "cold", "with its own import", 5),
            (1, "warm", "warm", 60),
        )
    ),
    Benchmark(
        "restart-torch",
        "restart of 8 torch workers, from a death to user code running again, time",
        "s",
        {OURS: partial(restart, OURS, "--preload=torch"), "torchrun": partial(restart, "torchrun")},
        15,
        **SLOW,
    ),
    Benchmark(
        "functions-1000",
        "1000 functions that do nothing, start_method='forkserver', time",
        "s",
        {peer: partial(started, peer, "forkserver", 1000) for peer in (OURS, STDLIB)},
        1,
        **SLOW,
    ),
    Benchmark(
        "functions-results",
        "4 functions that return an array of 256 MiB each, start_method='fork', time",
        "s",
        {peer: partial(started, peer, "fork", 4, "array_result") for peer in (OURS, TORCH)},
        2,
        **SLOW,
    ),
    Benchmark(
        "functions-memory",
        "4 torch functions, their launcher and its helpers, memory with shared pages counted once",
        "MB",
        {peer: partial(memory_while_running, peer) for peer in (OURS, TORCH)},
        1,
        **SLOW,
    ),
]
