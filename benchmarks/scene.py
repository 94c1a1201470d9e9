"""One gang and what happens to it: ``python -m benchmarks.scene PEER SCENE`` prints its figures as JSON.

PEER is ``procession``, ``torch`` or ``bare``; the first two have the same API. A process of its own for
each, so that no peer pays for another's memory, threads or descriptors.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import resource
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from benchmarks.processes import rss
from procession.testing import RollCall, wait_for_text, wait_gone

Figures = dict[str, float]

MODULES = {
    "procession": "procession.multiprocessing",
    "torch": "torch.distributed.elastic.multiprocessing",
}
MANY = 1000
RANKS = 128
FEW = 4
_SHOWN = "console"
PERIOD = 1.0  # seconds: how often torch's wait() looks, by default

# Says that it is up, into the FIFO $0, and on stdout, then becomes a sleep.
UP = 'echo up; echo up > "$0"; exec sleep 1000'
DEAF = 'trap "" TERM; ' + UP  # what is ignored stays so in the sleep
# Stamps its SIGTERM into the FIFO argv[1], and ends when the stamps of all have come: a thousand
# ends at once would keep the processors from those that have not been signalled yet.
STAMP = """
import os, signal, struct, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
fd = os.open(sys.argv[1], os.O_WRONLY)
os.write(fd, struct.pack("q", 0))
signal.sigwait([signal.SIGTERM])
os.write(fd, struct.pack("q", time.monotonic_ns()))
signal.sigtimedwait([signal.SIGUSR1], 0.5)
"""


def start(peer: str, directory: str, program: str, ranks: int, *args: str) -> Any:
    """A running gang of ``ranks`` copies of a program, all output in files."""
    api = importlib.import_module(MODULES[peer])
    return api.start_processes(
        name="w",
        entrypoint=program,
        args=dict.fromkeys(range(ranks), args),
        envs={rank: {} for rank in range(ranks)},
        logs_specs=api.DefaultLogsSpecs(directory, redirects=api.Std.ALL, tee=api.Std.ALL),
    )


@contextmanager
def quiet_place(shown: str = os.devnull) -> Iterator[str]:
    """A directory in memory, if there is one: what disks do differs by more than what is measured.

    The console that output is teed to is /dev/null, or the file ``shown`` in the directory.
    """
    base = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with (
        tempfile.TemporaryDirectory(dir=base) as directory,
        open(os.path.join(directory, shown), "w") as console,
        redirect_stdout(console),
    ):
        yield directory


def many(peer: str) -> Figures:
    """A thousand workers, each of which says a line: start, all are shown, one dies, all are gone."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with RollCall() as roll, quiet_place(_SHOWN) as directory:
        return _many_bare(roll) if peer == "bare" else _many(peer, directory, roll)


def _many_bare(roll: RollCall) -> Figures:
    argv = ["sh", "-c", UP, roll.path]
    begin = time.perf_counter()
    started = [subprocess.Popen(argv, stdout=subprocess.DEVNULL) for _ in range(MANY)]
    seconds = time.perf_counter() - begin
    roll.lines(MANY)
    figures = {"start": seconds, "fds": float(_fds(os.getpid())), "memory": rss(os.getpid())}
    begin = time.perf_counter()
    for process in started:
        process.kill()
    for process in started:
        process.wait()
    return {**figures, "gone": time.perf_counter() - begin}


def _many(peer: str, directory: str, roll: RollCall) -> Figures:
    begin = time.perf_counter()
    context = start(peer, directory, "sh", MANY, "-c", UP, roll.path)
    seconds = time.perf_counter() - begin
    roll.lines(MANY)
    for rank in range(MANY):
        wait_for_text(os.path.join(directory, _SHOWN), f"[w{rank}]:up\n")
    ours = [os.getpid(), *_helpers(set(context.pids().values()))]
    figures = {
        "start": seconds,
        "fds": float(sum(map(_fds, ours))),
        "memory": sum(map(rss, ours)),
    }
    begin = time.perf_counter()
    os.kill(context.pids()[MANY // 2], signal.SIGKILL)
    context.wait()
    return {**figures, "gone": time.perf_counter() - begin}


def _helpers(workers: set[int]) -> list[int]:
    """The children of this process that are not workers: a guardian."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return [pid for pid in map(int, file.read().split()) if pid not in workers]


def _fds(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def signalled(peer: str) -> Figures:
    """One of 128 ranks dies: when has each of the others got its SIGTERM?"""
    with RollCall() as roll, quiet_place() as directory:
        context = start(peer, directory, sys.executable, RANKS, "-I", "-S", "-c", STAMP, roll.path)
        reader = os.open(roll.path, os.O_RDONLY | os.O_NONBLOCK)
        _stamps(reader, RANKS)
        victim = context.pids()[RANKS // 2]
        killed: list[int] = []
        with _later(lambda: (killed.append(time.monotonic_ns()), os.kill(victim, signal.SIGKILL))):
            context.wait()
        delays = sorted(ns - killed[0] for ns in _stamps(reader, RANKS - 1))
        os.close(reader)
    return {
        "p50": delays[len(delays) // 2] / 1e9,
        "p99": delays[len(delays) * 99 // 100] / 1e9,
    }


def _stamps(reader: int, count: int) -> list[int]:
    """The next ``count`` numbers from a FIFO."""
    data = b""
    while len(data) < 8 * count:
        if not select.select([reader], [], [], 60)[0]:
            sys.exit(f"{len(data) // 8} stamps came, not {count}")
        data += os.read(reader, 8 * count - len(data))
    return [ns for (ns,) in struct.iter_unpack("q", data)]


@contextmanager
def _later(deed: Callable[[], object]) -> Iterator[None]:
    """Do something during the body, at a moment that no period knows."""
    timer = threading.Timer(random.uniform(0.5, 0.5 + PERIOD), deed)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def returned(peer: str) -> Figures:
    """One of four ranks dies: when has ``wait()`` returned, with all of them gone?"""
    with RollCall() as roll, quiet_place() as directory:
        context = start(peer, directory, "sh", FEW, "-c", UP, roll.path)
        roll.lines(FEW)
        pids = list(context.pids().values())
        killed: list[float] = []
        with _later(lambda: (killed.append(time.perf_counter()), os.kill(pids[1], signal.SIGKILL))):
            result = context.wait()
            seconds = time.perf_counter() - killed[0]
        if not result.is_failed() or wait_gone(pids, 0):
            sys.exit(f"{peer}: wait() has returned, and not all are gone")
    return {"returned": seconds}


def deaf(peer: str) -> Figures:
    """128 ranks that ignore SIGTERM are closed without grace: when are all gone?"""
    with RollCall() as roll, quiet_place() as directory:
        context = start(peer, directory, "sh", RANKS, "-c", DEAF, roll.path)
        roll.lines(RANKS)
        pids = list(context.pids().values())
        begin = time.perf_counter()
        context.close(signal.SIGTERM, 0)
        if left := wait_gone(pids, 60):
            sys.exit(f"{peer}: {len(left)} ranks are left")
        return {"closed": time.perf_counter() - begin}


SCENES = {scene.__name__: scene for scene in (many, signalled, returned, deaf)}

if __name__ == "__main__":
    peer, scene = sys.argv[1:]
    print(json.dumps(SCENES[scene](peer)))
