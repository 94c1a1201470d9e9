"""Nothing is left, whoever is killed: launcher, guardian or worker, by every way of starting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from tests.real.pace import left_at_once

from procession.testing import stop

HERE = os.path.dirname(os.path.abspath(__file__))
ENTRIES = ["binary", "spawn", "fork", "forkserver"]
PATIENCE = 30.0


@dataclass
class Family:
    """A launcher with its guardian, workers, children and daemons, all pids known."""

    launcher: subprocess.Popen[str]
    guardian: int
    workers: list[int]
    others: list[int]

    @property
    def all(self) -> list[int]:
        return [self.guardian, *self.workers, *self.others]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(entry: str, tmp: str, stack: ExitStack, grace: float = 0) -> Family:
    fifo = os.path.join(tmp, "fifo")
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDWR)  # O_RDWR: an open that waits for no writer and sees no EOF
    stack.callback(os.close, reader)
    launcher = stack.enter_context(
        subprocess.Popen(
            [
                *(sys.executable, os.path.join(HERE, "scripts", "launcher.py")),
                *(entry, fifo, os.path.join(tmp, "logs"), str(grace)),
            ],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    )
    stack.callback(_kill_group, launcher)
    assert launcher.stdout is not None
    guardian = int(launcher.stdout.readline().split()[1])
    lines = b""
    while lines.count(b"\n") < 2:
        lines += os.read(reader, 4096)
    families = [[int(pid) for pid in line.split()] for line in lines.splitlines()]
    workers = [family[0] for family in families]
    return Family(launcher, guardian, workers, [pid for f in families for pid in f[1:]])


def _kill_group(launcher: subprocess.Popen[str]) -> None:
    try:
        os.killpg(launcher.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("victim", ["launcher", "guardian", "worker"])
def test_a_sigkill_leaves_nothing(
    entry: str, victim: str, tmp_path: object, stack: ExitStack
) -> None:
    family = start(entry, str(tmp_path), stack)
    pid = {
        "launcher": family.launcher.pid,
        "guardian": family.guardian,
        "worker": family.workers[1],
    }[victim]
    os.kill(pid, signal.SIGKILL)
    assert left_at_once(family.all) == []
    output, _ = family.launcher.communicate(timeout=PATIENCE)
    says = {"launcher": "", "guardian": "guardian lost\n", "worker": "result {R: -9}\n"}[victim]
    assert output in (says, says.replace("R", "0"), says.replace("R", "1"))


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_to_the_launcher_ends_all(
    entry: str, signum: signal.Signals, tmp_path: object, stack: ExitStack
) -> None:
    family = start(entry, str(tmp_path), stack)
    os.kill(family.launcher.pid, signum)
    assert left_at_once(family.all) == []
    output, _ = family.launcher.communicate(timeout=PATIENCE)
    assert output == f"signal {signum.name}\n"


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_guardian_is_deaf(entry: str, tmp_path: object, stack: ExitStack) -> None:
    """Some schedulers send what ends a job, or warns it, to all of its processes."""
    family = start(entry, str(tmp_path), stack)
    for name in ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2"):
        os.kill(family.guardian, signal.Signals[f"SIG{name}"])
    os.kill(family.workers[0], signal.SIGKILL)
    assert left_at_once(family.all) == []
    output, _ = family.launcher.communicate(timeout=PATIENCE)
    assert output in ("result {0: -9}\n", "result {1: -9}\n")


def test_grace_ends_when_everybody_has_gone(tmp_path: object, stack: ExitStack) -> None:
    """A long grace costs nothing where all workers and orphans heed SIGTERM."""
    family = start("binary", str(tmp_path), stack, grace=60)
    os.kill(family.workers[0], signal.SIGKILL)
    assert left_at_once(family.all) == []
    assert family.launcher.wait(PATIENCE) == 0


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_stopped_guardian_holds_up_nothing(
    entry: str, tmp_path: object, stack: ExitStack
) -> None:
    family = start(entry, str(tmp_path), stack)
    stop(family.guardian)
    os.kill(family.launcher.pid, signal.SIGTERM)
    assert left_at_once(family.all, 1) == []  # it is continued after a second of silence
    output, _ = family.launcher.communicate(timeout=PATIENCE)
    assert output == "signal SIGTERM\n"


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_child_of_the_caller_keeps_no_worker_alive(
    entry: str, tmp_path: object, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the caller has forked since holds a copy of its end of the guardian's socket."""
    monkeypatch.setenv("FORK_AFTER_START", "1")
    family = start(entry, str(tmp_path), stack)
    os.kill(family.launcher.pid, signal.SIGKILL)
    assert left_at_once(family.all) == []
