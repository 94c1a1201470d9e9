"""What a large gang costs, and how soon everybody knows that one has died (`scene` has the scenes)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict, deque
from collections.abc import Callable
from functools import partial

from benchmarks.scene import FEW, MANY, RANKS
from benchmarks.timing import OURS, Benchmark

# One scene gives several figures: what one benchmark does not ask for waits here for another.
_spare: dict[tuple[str, str, str], deque[float]] = defaultdict(deque)


def figure(peer: str, scene: str, name: str) -> float:
    """The next sample of a figure of a scene."""
    waiting = _spare[peer, scene, name]
    if not waiting:
        argv = [sys.executable, "-m", "benchmarks.scene", peer, scene]
        ended = subprocess.run(argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for key, value in json.loads(ended.stdout).items():
            _spare[peer, scene, key].append(value)
    return waiting.popleft()


def peers(other: str, scene: str, name: str) -> dict[str, Callable[[], float]]:
    return {peer: partial(figure, peer, scene, name) for peer in (OURS, other)}


BENCHMARKS = [
    Benchmark(
        "thousand-start",
        f"{MANY} workers, with log files and tee, against bare Popen: until all are started",
        "s",
        peers("bare", "many", "start"),
        times_better=1 / 1.5,
    ),
    Benchmark(
        "thousand-gone",
        f"one of {MANY} is killed: until wait() has returned and all are gone; bare: kill and reap",
        "s",
        peers("bare", "many", "gone"),
        times_better=1 / 2,
    ),
    Benchmark(
        "thousand-fds",
        f"descriptors of launcher and guardian while {MANY} workers run",
        "",
        peers("bare", "many", "fds"),
        times_better=0,
        at_most=4 * MANY,
    ),
    Benchmark(
        "thousand-memory",
        f"memory of launcher and guardian while {MANY} workers run",
        "MB",
        peers("bare", "many", "memory"),
        times_better=0,
        at_most=60,
    ),
    Benchmark(
        "signalled-p50",
        f"one of {RANKS} ranks is killed: until half of the others have their SIGTERM",
        "s",
        peers("torch", "signalled", "p50"),
        times_better=1,
        at_most=0.01,
    ),
    Benchmark(
        "signalled-p99",
        f"one of {RANKS} ranks is killed: until 99 % of the others have their SIGTERM",
        "s",
        peers("torch", "signalled", "p99"),
        times_better=1,
        at_most=0.01,
    ),
    Benchmark(
        "death-to-return",
        f"one of {FEW} ranks is killed: until wait() has returned and all are gone",
        "s",
        peers("torch", "returned", "returned"),
        times_better=20,
    ),
    Benchmark(
        "deaf-closed",
        f"close() without grace of {RANKS} ranks that ignore SIGTERM: until all are gone",
        "s",
        peers("torch", "deaf", "closed"),
        times_better=1,
    ),
]
