"""What the import of the library costs: its time, and the memory of the process after it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial

from benchmarks.timing import OURS, Benchmark

MODULES = {
    OURS: "procession.multiprocessing",
    "torch": "torch.distributed.elastic.multiprocessing",
}
# All names, since ours are loaded with their first use.
SECONDS = """
import time
begin = time.perf_counter()
from {module} import *
print(time.perf_counter() - begin)
"""
MEGABYTES = """
from {module} import *
for line in open("/proc/self/status"):
    if line.startswith("VmRSS:"):
        print(int(line.split()[1]) / 1000)
"""


def figure(program: str, module: str) -> float:
    """The one figure that a fresh interpreter prints."""
    argv = [sys.executable, "-c", program.format(module=module)]
    return float(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


def peers(program: str) -> dict[str, Callable[[], float]]:
    return {peer: partial(figure, program, module) for peer, module in MODULES.items()}


BENCHMARKS = [
    Benchmark("import-time", "import of the library, time", "s", peers(SECONDS), 20, at_most=0.06),
    Benchmark(
        "import-memory", "process after the import, memory", "MB", peers(MEGABYTES), 5, at_most=30
    ),
]
