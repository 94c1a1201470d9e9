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
from pathlib import Path
from typing import Any

import pytest

import procession

pytestmark = pytest.mark.timeout(150)

EXAMPLE = Path(__file__).parents[2] / "examples" / "elastic.py"


class Training:
    """Runs of the example that share a directory of checkpoints; what they print goes to one file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.checkpoint = directory / "checkpoints" / "checkpoint.json"
        self.checkpoint.parent.mkdir()
        self.printed = directory / "printed"
        self.printed.touch()
        self.runs: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "procession", "run", *words, str(EXAMPLE), "checkpoints"]
        environ = {**os.environ, "PYTHONPATH": str(Path(procession.__file__).parents[1])}
        with self.printed.open("ab") as file:
            run = subprocess.Popen(
                argv, cwd=self.directory, env={**environ, "STEPS": "300"}, stdout=file, stderr=file
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


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Training]:
    made = Training(tmp_path)
    yield made
    made.end()


def check(training: Training, lost_after: list[int]) -> None:
    """All is well in the end, and each gang has gone on after what was kept at the kill, or later."""
    text = training.printed.read_text()
    assert "y = 3.00 x + -1.00 after 300 steps" in text
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


@pytest.mark.program("etcd", "etcd-server")
def test_a_host_is_killed(training: Training, make_cluster: Callable[..., Any]) -> None:
    words = ("--nnodes", "1:2", "--max-restarts", "3", "--rdzv-id", "job", "--rdzv-backend", "etcd")
    endpoint = make_cluster().members[0].endpoint
    conf = "lease=3,last_call_timeout=20"
    hosts = [
        training.start(
            *words, "--rdzv-endpoint", endpoint, "--rdzv-conf", conf, "--node-rank", str(rank)
        )
        for rank in (0, 1)
    ]
    training.wait_checkpoint(40)
    kept = training.kept()
    hosts[0].kill()
    assert hosts[1].wait(timeout=90) == 0, training.printed.read_text()
    check(training, [kept])
