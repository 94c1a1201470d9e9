"""``examples/elastic.py`` survives kills of workers and hosts, and loses no step before its checkpoint."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import procession

pytestmark = pytest.mark.timeout(150)

HOST = "TRAINING_HOST"
EXAMPLE = Path(__file__).parents[2] / "examples" / "elastic.py"


class Training:
    """Runs of the example that share a directory of checkpoints; what they print goes to one file."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.steps = directory, 300
        self.checkpoint = directory / "checkpoints" / "checkpoint.json"
        self.checkpoint.parent.mkdir()
        self.printed = directory / "printed"
        self.printed.touch()
        self.runs: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str, host: int = 0) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "procession", "run", *words, str(EXAMPLE), "checkpoints"]
        environ = {**os.environ, "PYTHONPATH": str(Path(procession.__file__).parents[1])}
        with self.printed.open("ab") as file:
            run = subprocess.Popen(
                argv,
                cwd=self.directory,
                env={**environ, "STEPS": str(self.steps), HOST: f"{self.directory}/{host}"},
                stdout=file,
                stderr=file,
            )
        self.runs.append(run)
        return run

    def wait_checkpoint(self, steps: int) -> None:
        """Wait until so many steps are kept."""
        pause = threading.Event()
        while self.kept() < steps:
            pause.wait(0.02)
            assert any(run.poll() is None for run in self.runs), self.printed.read_text()

    def kept(self) -> int:
        try:
            return int(json.loads(self.checkpoint.read_text())["steps"])
        except FileNotFoundError:
            return 0

    def a_worker(self, launcher: subprocess.Popen[bytes]) -> int:
        """The pid of a worker: it has the example and its environment, and is no launcher."""
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) == launcher.pid:
                continue
            try:
                words = Path(f"/proc/{name}/cmdline").read_bytes()
                environ = Path(f"/proc/{name}/environ").read_bytes()
            except OSError:
                continue
            mine = str(self.directory).encode() in environ
            if mine and str(EXAMPLE).encode() in words and b"RANK=1\0" in environ:
                return int(name)
        raise AssertionError("no worker of rank 1")

    def all_of_host(self, host: int) -> list[int]:
        """The pids of whatever runs on a host: agent, guardian, workers."""
        mark = f"{HOST}={self.directory}/{host}".encode()
        return [
            int(pid)
            for pid in filter(str.isdigit, os.listdir("/proc"))
            if mark in environment(pid).split(b"\0")
        ]

    def kill_host(self, host: int) -> None:
        """Kill all of it at one stroke, as a host without power."""
        for signum in (signal.SIGSTOP, signal.SIGKILL):
            for pid in self.all_of_host(host):
                with suppress(ProcessLookupError):
                    os.kill(pid, signum)

    def begun_after(self) -> list[int]:
        """After how many steps each gang has gone on."""
        found = re.findall(
            r"gang (\d+) of \d+: rank 0 goes on after (\d+)", self.printed.read_text()
        )  # of the rank that keeps the checkpoints: another may begin when it has gone on
        by_gang = {int(gang): int(steps) for gang, steps in found}
        return [by_gang[gang] for gang in sorted(by_gang)]

    def end(self) -> None:
        for run in self.runs:
            if run.poll() is None:
                run.terminate()
            run.wait(timeout=40)


def environment(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Training]:
    made = Training(tmp_path)
    yield made
    made.end()


def check(training: Training, lost_after: list[int]) -> None:
    """All is well in the end, and each gang has gone on after what was kept at the kill, or later."""
    text = training.printed.read_text()
    assert f"y = 3.00 x + -1.00 after {training.steps} steps" in text
    begun = training.begun_after()
    assert begun[0] == 0
    assert len(begun) > len(lost_after)
    for kept, steps in zip(lost_after, begun[1:], strict=False):
        assert steps >= kept, f"went on after {steps}, but {kept} steps were kept"


def test_workers_are_killed(training: Training) -> None:
    run = training.start("-n", "2", "--max-restarts", "2")
    lost_after = []
    for steps in (40, 120):
        training.wait_checkpoint(steps)
        lost_after.append(training.kept())
        os.kill(training.a_worker(run), signal.SIGKILL)
    assert run.wait(timeout=60) == 0, training.printed.read_text()
    check(training, lost_after)


class Hosts:
    """Hosts that train together, over an etcd."""

    def __init__(self, training: Training, endpoint: str, most: int) -> None:
        self.training, self.endpoint, self.most = training, endpoint, most
        self.runs: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, *numbers: int) -> None:
        for number in numbers:
            self.runs[number] = self.training.start(
                *("--nnodes", f"1:{self.most}", "--max-restarts", "9", "--rdzv-id", "job"),
                *("--rdzv-backend", "etcd", "--rdzv-endpoint", self.endpoint),
                *("--rdzv-conf", "lease=6,last_call_timeout=20", "--node-rank", str(number)),
                host=number,
            )

    def kill_after(self, number: int, steps: int) -> int:
        """Kill a host once so many more steps are kept; return how many are."""
        self.training.wait_checkpoint(self.training.kept() + steps)
        kept = self.training.kept()
        self.training.kill_host(number)
        self.runs[number].wait(timeout=30)
        return kept


@pytest.mark.program("etcd", "etcd-server")
def test_a_host_is_killed(training: Training, make_cluster: Callable[..., Any]) -> None:
    hosts = Hosts(training, make_cluster().endpoints, 2)
    hosts.start(0, 1)
    lost_after = [hosts.kill_after(0, 40)]  # with rank 0, which keeps the checkpoints
    assert hosts.runs[1].wait(timeout=90) == 0, training.printed.read_text()
    check(training, lost_after)


@pytest.mark.stress
@pytest.mark.program("etcd", "etcd-server")
def test_hosts_are_killed_and_come_back(
    training: Training, make_cluster: Callable[..., Any]
) -> None:
    training.steps = 900
    hosts = Hosts(training, make_cluster(3).endpoints, 3)
    hosts.start(0, 1, 2)
    lost_after = []
    for number in (0, 2, 1, 0):
        lost_after.append(hosts.kill_after(number, 40))
        kept = training.kept()
        training.wait_checkpoint(kept + 10)  # the others go on
        hosts.start(number)
    ends = [run.wait(timeout=120) for run in hosts.runs.values()]
    assert ends == [0, 0, 0], training.printed.read_text()
    text = training.printed.read_text()
    assert f"y = 3.00 x + -1.00 after {training.steps} steps" in text
    begun = training.begun_after()
    # Gangs also change as hosts come back; but none goes back behind what was kept before it.
    assert begun == sorted(begun), begun
    for kept in lost_after:
        assert all(steps >= kept for steps in begun if steps >= kept)
