"""What a view costs beside its speed: the time to the screen, an idle gang, many streams, the writer."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.launch import running
from benchmarks.processes import tree
from benchmarks.tee import HERE, OURS, beside
from benchmarks.timing import Benchmark

PEERS = (OURS, "torchrun")
TICKS, PAUSE = 100, 0.01  # lines of each of four workers, and seconds between two
IDLE = 128  # workers
WINDOW = {
    OURS: 5.0,
    "torchrun": 1.0,
}  # seconds for which they are watched: ours sleep for most of one


def teed(peer: str, workers: int, *worker: str) -> list[str]:
    """The command line of a gang of any program, with both streams of all teed."""
    command = [beside("procession"), "run"] if peer == OURS else [beside("torchrun")]
    return [*command, f"--nproc-per-node={workers}", "--tee=3", "--no-python", *worker]


class Delays:
    """The time from a worker's write to the line's coming out, in ms; a run serves both percentiles."""

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self._runs: dict[float, list[list[float]]] = {0.5: [], 0.99: []}

    def at(self, part: float) -> float:
        """The delay that ``part`` of the lines do not exceed."""
        if not self._runs[part]:
            delays = self._measure()
            for runs in self._runs.values():
                runs.append(delays)
        delays = self._runs[part].pop(0)
        return delays[int(len(delays) * part)]

    def _measure(self) -> list[float]:
        script = [sys.executable, "-I", "-S", str(HERE / "ticker.py"), str(TICKS), str(PAUSE)]
        with tempfile.TemporaryDirectory() as folder:
            argv = teed(self._peer, 4, *script)
            process = subprocess.Popen(
                argv, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            assert process.stdout
            delays, rest = [], b""
            while data := os.read(process.stdout.fileno(), 65536):
                now = time.monotonic_ns()
                *lines, rest = (rest + data).split(b"\n")
                delays += [(now - int(line.rpartition(b" ")[2])) / 1e6 for line in lines]
            process.wait()
            process.stdout.close()
        if len(delays) != 4 * TICKS:
            sys.exit(f"{self._peer} has shown {len(delays)} of {4 * TICKS} lines")
        return sorted(delays)


@contextmanager
def idle_gang(peer: str):
    """A gang of sleepers; yields the pids of what has started them."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running(teed(peer, IDLE, "sleep", "1000"), folder) as launcher,
    ):
        while len(sleepers := {pid for pid in tree(launcher) if name_of(pid) == "sleep"}) < IDLE:
            time.sleep(0.1)  # nothing is measured yet
        time.sleep(1.0)
        yield tree(launcher) - sleepers


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def threads(pids: set[int]) -> list[Path]:
    return [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]


def cpu_seconds(tasks: list[Path]) -> float:
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def wakeups(tasks: list[Path]) -> float:
    lines = [line for task in tasks for line in (task / "status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))


class Idle:
    """What an idle gang costs in 10 s; a run serves all three figures."""

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self._runs: dict[str, list[float]] = {"cpu": [], "wakeups": [], "threads": []}

    def of(self, what: str) -> float:
        """One of ``cpu`` (s in 10 s), ``wakeups`` (a second) and ``threads``."""
        if not self._runs[what]:
            for name, figure in self._measure().items():
                self._runs[name].append(figure)
        return self._runs[what].pop(0)

    def _measure(self) -> dict[str, float]:
        window = WINDOW[self._peer]
        with idle_gang(self._peer) as pids:
            tasks = threads(pids)
            cpu, woken = cpu_seconds(tasks), wakeups(tasks)
            time.sleep(window)
            return {
                "cpu": (cpu_seconds(tasks) - cpu) * 10 / window,
                "wakeups": (wakeups(tasks) - woken) / window,
                "threads": float(len(tasks)),
            }


def figure_of(script: str, *args: str) -> float:
    argv = [sys.executable, str(HERE / script), *args]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def writer(size: int, count: int, most: float) -> Benchmark:
    args = (str(size), str(count))
    peers: dict[str, Callable[[], float]] = {
        OURS: partial(figure_of, "write_loop.py", "teed", *args),
        "plain file": partial(figure_of, "write_loop.py", "plain", *args),
    }
    return Benchmark(
        f"writer-{size}",
        f"a worker's {count} writes of {size} bytes, teed and not ({most:g} times is allowed)",
        "s",
        peers,
        wanted={"plain file": 1 / most},
        rounds=15,
    )


delays = {peer: Delays(peer) for peer in PEERS}
idle = {peer: Idle(peer) for peer in PEERS}


def of_gang(name: str, title: str, unit: str, what: str, most: float) -> Benchmark:
    peers = {peer: partial(idle[peer].of, what) for peer in PEERS}
    return Benchmark(name, title, unit, peers, 1.0, at_most=most, rounds=5, warm_up=False)


def of_delay(name: str, part: float, most: float) -> Benchmark:
    title = f"line written to line seen, 4 workers, {part:.0%} of the lines within"
    peers = {peer: partial(delays[peer].at, part) for peer in PEERS}
    return Benchmark(name, title, "ms", peers, 1.0, at_most=most, rounds=5, warm_up=False)


BENCHMARKS = [
    of_delay("delay-median", 0.5, 1.0),
    of_delay("delay-p99", 0.99, 5.0),
    of_gang("idle-cpu", f"{IDLE} idle workers, launcher's CPU in 10 s", "s", "cpu", 0.02),
    of_gang("idle-wakeups", f"{IDLE} idle workers, launcher's wakeups", "1/s", "wakeups", 10),
    of_gang("idle-threads", f"{IDLE} idle workers, launcher's threads", "", "threads", 5),
    Benchmark(
        "streams",
        "1000 streams of 20000 lines a second in all, share of a core",
        "%",
        {OURS: partial(figure_of, "many_streams.py", "1000", "20000", "3")},
        at_most=15,
        rounds=5,
        warm_up=False,
    ),
    writer(65536, 3000, 1.05),
    writer(200, 300_000, 1.3),
]
