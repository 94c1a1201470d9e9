"""Whom the report blames where two ranks raise a millisecond apart.

``python -m benchmarks.blame PEER`` makes PAIRS gangs of two forked functions and prints how many of them
were put down to the rank that raised second. The ranks stamp their raises themselves.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib import import_module
from typing import Any

from benchmarks.timing import OURS, Benchmark

PAIRS = 20
GAP_NS = 1_000_000
LEAD_NS = 20_000_000  # from the moment both are there to the first raise
_MODULES = {
    OURS: "procession.multiprocessing",
    "torch": "torch.distributed.elastic.multiprocessing",
}


def wrongly(peer: str) -> float:
    """The share of gangs, in percent, whose first failure is not the first."""
    argv = [sys.executable, "-m", "benchmarks.blame", peer]
    ended = subprocess.run(argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return 100 * float(json.loads(ended.stdout)) / PAIRS


def raise_in_turn(rank: int, first: int, there: Any, begin: Any, raised: Any) -> None:
    there[rank] = 1
    while not all(there):
        time.sleep(0.0005)
    if rank == 0:
        begin.value = time.monotonic_ns() + LEAD_NS
    while not begin.value:
        time.sleep(0.0005)
    mine = begin.value + (GAP_NS if rank != first else 0)
    while time.monotonic_ns() < mine:
        pass
    raised[rank] = time.monotonic_ns()
    raise ValueError(f"rank {rank}")


def blamed(elastic: Any, first: int) -> bool:
    """Whether the rank that raised first is the first failure."""
    shared = multiprocessing.get_context("fork")
    there, raised = shared.RawArray("b", 2), shared.RawArray("q", 2)
    begin = shared.RawValue("q", 0)
    with tempfile.TemporaryDirectory() as logs:
        context = elastic.start_processes(
            name="blame",
            entrypoint=raise_in_turn,
            args={rank: (rank, first, there, begin, raised) for rank in (0, 1)},
            envs={0: {}, 1: {}},
            logs_specs=elastic.DefaultLogsSpecs(log_dir=logs, redirects=elastic.Std.ALL),
            start_method="fork",
        )
        result = context.wait(timeout=60, period=0.1)
    cause = min(result.failures.values(), key=lambda failure: failure.timestamp)
    earliest = next(iter(result.failures)) if len(result.failures) > 1 else cause.local_rank
    return bool(earliest == (0 if raised[0] and (not raised[1] or raised[0] < raised[1]) else 1))


def main(peer: str) -> None:
    elastic = import_module(_MODULES[peer])
    wrong = sum(not blamed(elastic, pair % 2) for pair in range(PAIRS))
    print(json.dumps(wrong))


BENCHMARKS = [
    Benchmark(
        "blame",
        f"two functions raise {GAP_NS // 10**6} ms apart: gangs put down to the wrong one",
        "%",
        {peer: partial(wrongly, peer) for peer in _MODULES},
        times_better=0,
        at_most=5,
        rounds=5,
        warm_up=False,
    )
]

if __name__ == "__main__":
    main(sys.argv[1])
