"""A launcher that nobody makes wait, its guardian, and two workers, each with a child and a daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).parent / "scripts"
ENTRIES = ["binary", "spawn", "fork", "forkserver"]
PATIENCE = 30.0


@dataclass
class Run:
    """What the launcher says of its gang, in pids of the host; the families as they call themselves.

    Attributes:
        launcher: Sits in a read of its stdin until somebody lets it wait.
        families: A worker's pid, its child's and its daemon's, one list a worker; in a PID namespace
            they are that namespace's numbers.
    """

    launcher: subprocess.Popen[str]
    guardian: int
    id: str
    workers: list[int]
    families: list[list[int]]

    @property
    def pids(self) -> list[int]:
        """All but the launcher; not of a gang in a PID namespace."""
        return [self.guardian, *(pid for family in self.families for pid in family)]

    def let_wait(self) -> None:
        """Have the launcher call ``wait()``."""
        assert self.launcher.stdin is not None
        self.launcher.stdin.write("\n")
        self.launcher.stdin.flush()

    def outcome(self) -> str:
        """Return what came of it, in the launcher's words."""
        output, _ = self.launcher.communicate("\n", timeout=PATIENCE)
        return output


@contextmanager
def idle(entry: str, directory: Path, isolate: str = "") -> Iterator[Run]:
    """Start scripts/idle.py in ``directory``; it is killed at the end."""
    fifo = str(directory / "fifo")
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDWR)  # O_RDWR: it waits for no writer and sees no end
    try:
        with subprocess.Popen(
            [sys.executable, str(SCRIPTS / "idle.py"), entry, fifo, str(directory / "logs")],
            env={**os.environ, "ISOLATE": isolate},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as launcher:
            try:
                yield _ready(launcher, reader)
            finally:
                launcher.kill()
    finally:
        os.close(reader)


def _ready(launcher: subprocess.Popen[str], reader: int) -> Run:
    assert launcher.stdout is not None
    _, guardian, run_id, *workers = launcher.stdout.readline().split()
    lines = b""
    while lines.count(b"\n") < 2:
        lines += os.read(reader, 4096)
    families = [[int(pid) for pid in line.split()] for line in lines.splitlines()]
    return Run(launcher, int(guardian), run_id, [int(pid) for pid in workers], families)
