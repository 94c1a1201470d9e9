"""`procession reap`: what launcher and guardian, both killed, have left behind is found and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from procession._os import proc
from procession.testing import stop, wait_gone

SCRIPTS = Path(__file__).parents[1] / "scripts"
REAP = (sys.executable, "-m", "procession", "reap")
ENTRIES = ["command", "binary", "spawn", "fork", "forkserver"]


@dataclass
class Run:
    """A run of two workers, each with a child and a daemon that has left session and environment."""

    launcher: Any
    guardian: int
    families: list[list[int]]
    id: str
    here: Any

    @property
    def pids(self) -> list[int]:
        return [pid for family in self.families for pid in family]

    def stop_both(self) -> None:
        """The launcher first: it continues a guardian that is stopped for longer than a second."""
        stop(self.launcher.pid)
        stop(self.guardian)

    def kill_both(self) -> None:
        """The guardian first: the launcher's end would continue it."""
        self.stop_both()  # neither must see the other's end before its own
        os.kill(self.guardian, signal.SIGKILL)
        self.launcher.kill()
        self.launcher.wait()

    def reap(self, *words: str) -> subprocess.CompletedProcess[str]:
        return reap(self.here, *words)


def living(pids: list[int]) -> list[int]:
    """Those of ``pids`` that live; a zombie does not, whoever has to reap it."""
    return list(proc.living(pids))


def reap(here: Any, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*REAP, *words],
        cwd=here.directory,
        env=here.environ,
        capture_output=True,
        text=True,
        check=False,
    )


def environ(pid: int) -> dict[str, str]:
    """Of a program; while execve(2) lays it there is none."""
    while not (text := Path(f"/proc/{pid}/environ").read_text()):
        time.sleep(0.01)
    return dict(word.split("=", 1) for word in text.split("\0") if "=" in word)


@pytest.fixture
def start(here: Any) -> Iterator[Callable[[str], Run]]:
    with contextlib.ExitStack() as stack:

        def begin(entry: str) -> Run:
            fifo = str(here.directory / f"fifo{len(os.listdir(here.directory))}")
            os.mkfifo(fifo)
            reader = os.open(fifo, os.O_RDWR)  # O_RDWR: it waits for no writer and sees no end
            stack.callback(os.close, reader)
            launcher = launch(here, entry, fifo)
            lines = b""
            while lines.count(b"\n") < 2:
                lines += os.read(reader, 4096)
            if entry == "command":
                here.wait_for_run()  # the link is made when all workers run
            families = [[int(pid) for pid in line.split()] for line in lines.splitlines()]
            stack.callback(kill, launcher, [pid for family in families for pid in family])
            child = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text()
            run_id = environ(families[0][1])["PROCESSION_RUN_ID"]
            return Run(launcher, guardian_of(child), families, run_id, here)

        yield begin


def launch(here: Any, entry: str, fifo: str) -> Any:
    if entry == "command":
        return here.start("-n", "2", str(SCRIPTS / "tree.py"), fifo)
    words = [str(SCRIPTS / "launcher.py"), entry, fifo, str(here.directory / "logs"), "0"]
    return subprocess.Popen(
        [sys.executable, *words], env=here.environ, stdout=subprocess.DEVNULL, text=True
    )


def guardian_of(children: str) -> int:
    """The launcher's child that is no resource tracker."""
    for pid in map(int, children.split()):
        if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    raise AssertionError(children)


def kill(launcher: Any, pids: list[int]) -> None:
    launcher.kill()
    for stream in (launcher.stdout, launcher.stderr):
        if stream is not None:
            stream.close()
    launcher.wait()
    for pid in living(pids):
        with contextlib.suppress(ProcessLookupError):  # a guardian that goes on is ending them too
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("entry", ENTRIES)
def test_all_that_two_kills_left_is_ended(entry: str, start: Callable[[str], Run]) -> None:
    run = start(entry)
    run.kill_both()
    if entry in ("fork", "forkserver"):  # the kernel ends those that the guardian has forked
        assert wait_gone([family[0] for family in run.families]) == []
    left = living(run.pids)
    assert {family[2] for family in run.families} <= set(left)  # the daemons at least
    ended = run.reap(run.id)
    assert living(run.pids) == []
    assert (ended.returncode, ended.stderr) == (0, "")
    head, _, list_ = ended.stdout.partition(" processes: ")
    pids = {int(words.split()[0]) for words in list_.split(", ")}
    assert head == f"run {run.id}: ended {len(pids)}"
    # A fork server may be on its way out by itself, or still be met.
    assert set(left) <= pids
    assert len(pids) - len(left) <= (entry == "forkserver")
    assert run.reap(run.id).returncode == 2  # it is not known any more


def test_a_daemon_alone_is_found(start: Callable[[str], Run]) -> None:
    """It has neither parent nor session nor environment of the run, only the lock."""
    run = start("command")
    run.kill_both()
    for worker, child, _ in run.families:
        os.kill(worker, signal.SIGKILL)
        os.kill(child, signal.SIGKILL)
    assert run.reap("latest").returncode == 0
    assert living(run.pids) == []


@pytest.mark.parametrize("name", ["latest", "procession-runs/latest", "NAME", "ID"])
def test_a_run_is_named_by_its_directory_or_its_id(name: str, start: Callable[[str], Run]) -> None:
    run = start("command")
    run.kill_both()
    name = name.replace("NAME", os.readlink(run.here.directory / "procession-runs" / "latest"))
    ended = run.reap(name.replace("ID", run.id))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert living(run.pids) == []


def test_a_dry_run_ends_nothing(start: Callable[[str], Run]) -> None:
    run = start("command")
    run.kill_both()
    shown = run.reap("latest", "--dry-run")
    assert shown.returncode == 0
    assert shown.stdout.startswith(f"run {run.id}: would end 6 processes: ")
    assert living(run.pids) == run.pids


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_run_that_goes_on_is_not_touched(entry: str, start: Callable[[str], Run]) -> None:
    run = start(entry)
    refused = run.reap(run.id)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"procession: run {run.id} goes on: ")
    assert f"pid {run.launcher.pid}" in refused.stderr
    assert living(run.pids) == run.pids


def test_a_launcher_without_its_guardian_is_enough_to_go_on(start: Callable[[str], Run]) -> None:
    run = start("command")
    run.stop_both()  # else the launcher would take over, and all would be gone
    os.kill(run.guardian, signal.SIGKILL)
    assert run.reap("latest").returncode == 2
    assert living(run.pids) == run.pids
    os.kill(run.launcher.pid, signal.SIGCONT)
    run.launcher.wait()


def test_force_kills_a_run_and_its_launcher_says_so(start: Callable[[str], Run]) -> None:
    run = start("command")
    ended = run.reap("latest", "--force")
    assert ended.returncode == 0
    assert living([run.guardian, *run.pids]) == []
    assert run.launcher.wait(30) == 71
    assert "guardian" in run.launcher.stderr.read()


def test_without_a_name_all_lost_runs_are_ended_and_no_other(start: Callable[[str], Run]) -> None:
    lost, other, goes_on = start("command"), start("spawn"), start("command")
    lost.kill_both()
    other.kill_both()
    ended = lost.reap("--dry-run")
    assert {f"run {run.id}: would end" in ended.stdout for run in (lost, other)} == {True}
    assert goes_on.id in ended.stdout.partition("looked after, and not touched: ")[2]
    # Not `reap` alone: other tests' runs are lost on purpose meanwhile.
    assert [run.reap(run.id).returncode for run in (lost, other)] == [0, 0]
    assert living(lost.pids + other.pids) == []
    assert living(goes_on.pids) == goes_on.pids


def test_a_run_with_processes_keeps_its_directory(start: Callable[[str], Run]) -> None:
    run = start("command")
    run.kill_both()
    kept = (run.here.directory / "procession-runs" / "latest").resolve()
    assert run.here.start("--keep-runs", "1", "--no-python", "true").wait() == 0
    assert kept.exists()
    assert run.reap(run.id).returncode == 0
    assert run.here.start("--keep-runs", "1", "--no-python", "true").wait() == 0
    assert not kept.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "no run nowhere: it is neither a directory with a report.json, here or in "),
        (["--force"], "--force is for one run. Name it: procession reap RUN --force.\n"),
        (["latest", "--all"], "RUN latest and --all were both given. Give one of them.\n"),
        (["--forse"], "unrecognized arguments: --forse\n"),
    ],
)
def test_what_cannot_be_is_said(here: Any, words: list[str], message: str) -> None:
    ended = reap(here, *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.partition(": ")[2].startswith(message)


def test_a_directory_of_another_launcher_is_refused(here: Any) -> None:
    (here.directory / "report.json").write_text("{}")
    ended = reap(here, ".")
    assert ended.returncode == 2
    assert "does not say which run it is of" in ended.stderr
