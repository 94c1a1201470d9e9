"""What keeping the index of a stream costs its worker and the launcher."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.timing import OURS, Benchmark

HERE = Path(__file__).parent
BARE = "no index"


def figure_of(mode: str, whose: str, size: int, count: int) -> float:
    argv = [sys.executable, str(HERE / "booked_loop.py"), mode, whose, str(size), str(count)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def cost(whose: str, size: int, count: int, title: str, most: float) -> Benchmark:
    """Ours beside the same without an index, which it may take ``most`` times as long as; 0 for any."""
    return Benchmark(
        f"index-{whose}-{size}",
        title,
        "s",
        {
            OURS: partial(figure_of, "booked", whose, size, count),
            BARE: partial(figure_of, "bare", whose, size, count),
        },
        wanted={BARE: 1 / most if most else 0.0},
        rounds=5,
        warm_up=False,
    )


BENCHMARKS = (
    cost(
        *("worker", 200, 500_000),
        "a worker's 500000 writes of 200 bytes, with the index of its output and without",
        1.3,
    ),
    cost(
        *("worker", 65536, 8_000),
        "a worker's 8000 writes of 64 KiB, with the index of its output and without",
        1.1,
    ),
    cost(
        *("launcher", 200, 500_000),
        "the launcher's CPU time during a worker's 500000 writes of 200 bytes, likewise",
        0,
    ),
)
