"""How fast a view of what workers print comes through a pipe, and that all of it does."""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from benchmarks.timing import OURS, Benchmark

HERE = Path(__file__).parent
MB = 1_000_000
PATIENCE = 120  # seconds
CROWD = 1000  # workers
BARE, FLOOR = "bare loop", "no view"
# What lacks on this machine, and what brings it.
NEEDS = {
    "parallel": "apt install parallel",
    "mpirun": "apt install openmpi-bin",
    "honcho": "pip install honcho",
}


def beside(name: str) -> str:
    """A command of the environment that runs the benchmarks."""
    return os.path.join(os.path.dirname(sys.executable), name)


def launch(peer: str, workers: int, worker: list[str], folder: str) -> list[str]:
    """The peer's command line for so many copies of ``worker``, each line shown behind its name."""
    text = " ".join(worker)
    if peer == "honcho":
        Path(folder, "Procfile").write_text(f"w: {text}\n")
    python = [sys.executable, "-I", "-S"]
    return {
        OURS: [beside("procession"), "run", f"-n{workers}", "--no-python", *worker],
        "torchrun": [
            *(beside("torchrun"), f"--nproc-per-node={workers}", "--tee=3", "--no-python"),
            *worker,
        ],
        "parallel": [
            *("parallel", "--line-buffer", "--tag", f"-j{workers}", f"{text} #", ":::"),
            *map(str, range(workers)),
        ],
        "mpirun": [
            *("mpirun", "--allow-run-as-root", "--oversubscribe", "--tag-output"),
            *("-n", str(workers), *worker),
        ],
        "honcho": [sys.executable, "-m", "honcho", "start", "-c", f"w={workers}"],
        BARE: [*python, str(HERE / "bare_tail.py"), str(workers), *worker],
        FLOOR: ["sh", "-c", f"{text} & " * workers + "wait"],
    }[peer]


def speed(peer: str, workers: int, megabytes: int, length: int) -> float:
    """MB/s of what the workers print, from the first write to the last byte out of the view.

    Args:
        peer: Of `launch`.
        workers: How many there are.
        megabytes: What all of them print together.
        length: Of a line, in bytes.

    Raises:
        SystemExit: A line has not come out.
    """
    lines = megabytes * MB // workers // length
    with tempfile.TemporaryDirectory() as folder:
        stamps = os.path.join(folder, "stamps")
        os.mkdir(stamps)
        script = [sys.executable, "-I", "-S", str(HERE / "line_writer.py"), stamps]
        worker = [*script, *map(str, (workers, lines, length, 65536))]
        argv = launch(peer, workers, worker, folder)
        shown, done_ns = drain(argv, folder, lines * workers)
        began_ns = first_write(stamps)
    if shown != lines * workers:
        sys.exit(f"{peer} has shown {shown} of {lines * workers} lines: {argv}")
    return lines * workers * length / MB / ((done_ns - began_ns) / 1e9)


def speed_of_a_crowd(peer: str, workers: int, megabytes: int, length: int) -> float:
    """The same for so many workers that Python would take longer to start than all the rest.

    Each is a ``cat`` that waits at a gate, a FIFO; the time begins when that is opened for all.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    lines = megabytes * MB // workers // length
    with tempfile.TemporaryDirectory() as folder:
        gate, data = os.path.join(folder, "gate"), os.path.join(folder, "data")
        Path(data).write_bytes((b"x" * (length - 2) + b"~\n") * lines)
        os.mkfifo(gate)
        opener = Opener(gate, workers)
        opener.start()
        argv = launch(peer, workers, ["cat", gate, data], folder)
        shown, done_ns = drain(argv, folder, lines * workers)
        opener.join()
    if shown != lines * workers:
        sys.exit(f"{peer} has shown {shown} of {lines * workers} lines: {argv}")
    return lines * workers * length / MB / ((done_ns - opener.opened_ns) / 1e9)


class Opener(threading.Thread):
    """Opens a gate once so many wait at it."""

    def __init__(self, gate: str, workers: int) -> None:
        super().__init__()
        self.opened_ns = 0
        self._gate = os.open(gate, os.O_RDWR)
        self._argv = f"cat\0{gate}".encode()
        self._workers = workers

    def run(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and waiting(self._argv) < self._workers:
            time.sleep(0.05)  # nothing is measured yet
        self.opened_ns = time.monotonic_ns()
        os.close(self._gate)


def waiting(argv: bytes) -> int:
    """How many processes with a command line that begins so sleep."""
    count = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(argv):
                count += Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"
    return count


def drain(argv: list[str], folder: str, lines: int) -> tuple[int, int]:
    """Run a command; return how many lines came out of it, and when the last of them had."""
    process = subprocess.Popen(
        argv,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout
    buffer, shown, done_ns = bytearray(1024 * 1024), 0, 0
    while count := os.readv(process.stdout.fileno(), [buffer]):
        shown += buffer.count(b"~", 0, count)  # mpirun may put a tag before the line's end
        if shown >= lines and not done_ns:
            done_ns = time.monotonic_ns()
    process.wait(PATIENCE)
    process.stdout.close()
    return shown, done_ns


def first_write(stamps: str) -> int:
    began = [name.partition("-")[2] for name in os.listdir(stamps) if name.startswith("began")]
    return min(map(int, began))


def installed(peer: str) -> bool:
    if peer == "honcho":
        return importlib.util.find_spec("honcho") is not None
    return peer not in NEEDS or shutil.which(peer) is not None


def benchmark(
    name: str, workers: int, megabytes: int, length: int, wanted: dict[str, float]
) -> Benchmark:
    """Compare the peers of ``wanted``; the slow ones print less, since it is their speed that counts."""
    less = {"honcho": 5, "torchrun": 30, "mpirun": 60}
    peers: dict[str, Callable[[], float]] = {}
    measure = speed_of_a_crowd if workers >= CROWD else speed
    floor = {} if workers >= 64 else {FLOOR: 0.0}
    for peer in filter(installed, [OURS, *wanted, *floor]):
        most = min(megabytes, less.get(peer, megabytes))
        peers[peer] = partial(measure, peer, workers, most, length)
    return Benchmark(
        name,
        f"view of {workers} x {megabytes / workers:g} MB in lines of {length} bytes, through a pipe",
        "MB/s",
        peers,
        wanted=wanted | floor,
        missing={peer: NEEDS[peer] for peer in wanted if not installed(peer)},
        greater=True,
        rounds=5,
        warm_up=workers < 64,
    )


ALL = {"torchrun": 4.0, "parallel": 1.0, "mpirun": 1.0, "honcho": 1.0, BARE: 0.8}
BENCHMARKS = [
    benchmark("tee-4", 4, 200, 100, ALL),
    benchmark("tee-1", 1, 200, 100, {BARE: 0.8}),
    benchmark("tee-short-lines", 4, 100, 20, {BARE: 0.8}),
    benchmark("tee-long-lines", 4, 200, 1000, {BARE: 0.8}),
    benchmark("tee-64", 64, 200, 100, {BARE: 0.8}),
    benchmark("tee-1000", CROWD, 200, 100, {BARE: 0.8}),
]
