"""Callers that are no plain main thread with all that they need: threads, several gangs, little left."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.real.conditions import as_user
from tests.real.pace import left_at_once

from procession._os import proc
from procession.multiprocessing import (
    DefaultLogsSpecs,
    PContext,
    RunProcsResult,
    Std,
    Supervision,
    start_processes,
)
from procession.testing import RollCall, children, wait_gone

ENTRIES = ["binary", "spawn", "fork", "forkserver"]
SCRIPTS = Path(__file__).parent / "scripts"
PATIENCE = 30


def start(entry: str, logs: Path, roll: RollCall, ranks: int = 2) -> PContext:
    """A gang of children that wait, by this entry; returns when all are up."""
    binary = entry == "binary"
    command = children.command(children.leaves_by_setsid, tell=roll.path)
    given = tuple(command[1:]) if binary else (roll.path,)
    return start_processes(
        entry,
        command[0] if binary else children.leaves_by_setsid,
        dict.fromkeys(range(ranks), given),
        {rank: {} for rank in range(ranks)},
        DefaultLogsSpecs(str(logs), redirects=Std.ALL),
        start_method="spawn" if binary else entry,
        supervision=Supervision(shutdown_timeout=5),
    )


def family(roll: RollCall, count: int = 2) -> list[int]:
    return [pid for ready in roll.wait(count) for pid in (ready.pid, *ready.others)]


def in_thread(deed: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=deed)
    thread.start()
    return thread


@pytest.fixture
def roll() -> Iterator[RollCall]:
    with RollCall() as made:
        yield made


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_thread_that_started_a_gang_may_end(entry: str, tmp_path: Path, roll: RollCall) -> None:
    made: list[PContext] = []
    in_thread(lambda: made.append(start(entry, tmp_path, roll))).join(PATIENCE)
    (context,) = made
    pids = family(roll)
    assert wait_gone(pids, 0.2) == pids
    os.kill(context.pids()[1], signal.SIGKILL)
    result = context.wait()
    assert result is not None
    assert list(result.failures) == [1]
    assert left_at_once(pids) == []


@pytest.mark.parametrize("entry", ENTRIES)
def test_another_thread_waits(entry: str, tmp_path: Path, roll: RollCall) -> None:
    context = start(entry, tmp_path, roll)
    pids = family(roll)
    results: list[RunProcsResult | None] = []
    waiter = in_thread(lambda: results.append(context.wait()))
    assert context.wait(0) is None
    os.kill(context.pids()[0], signal.SIGKILL)
    waiter.join(PATIENCE)
    assert results == [context.wait(0)]
    assert results[0] is not None
    assert list(results[0].failures) == [0]
    assert left_at_once(pids) == []


def test_gangs_of_every_kind_side_by_side(tmp_path: Path, roll: RollCall) -> None:
    """A death in one ends it, and it alone; the last one to end gives back what they shared."""
    child = subprocess.Popen(["sleep", "100"], start_new_session=True)
    gangs = {}
    pids = {}
    for entry in ENTRIES:
        gangs[entry] = start(entry, tmp_path / entry, roll)
        pids[entry] = family(roll)
    for ended, entry in enumerate(("fork", "binary", "forkserver", "spawn")):
        os.kill(gangs[entry].pids()[0], signal.SIGKILL)
        result = gangs[entry].wait()
        assert result is not None
        assert list(result.failures) == [0]
        assert left_at_once(pids.pop(entry)) == []
        alive = [pid for family in pids.values() for pid in family]
        assert len(proc.living(alive)) == 4 * (3 - ended)
    assert child.poll() is None  # the caller's own
    child.kill()
    child.wait()


def test_a_guardian_that_is_killed_costs_its_own_gang_alone(tmp_path: Path, roll: RollCall) -> None:
    from procession.errors import GuardianLostError

    one, other = start("spawn", tmp_path / "1", roll), start("fork", tmp_path / "2", roll)
    pids = {ready.pid: (ready.pid, *ready.others) for ready in roll.wait(4)}
    guardian = proc.stat(one.pids()[0])
    assert guardian is not None
    os.kill(guardian.parent, signal.SIGKILL)
    with pytest.raises(GuardianLostError):
        one.wait()
    assert left_at_once([pid for worker in one.pids().values() for pid in pids[worker]]) == []
    assert other.wait(0) is None
    rest = [pid for worker in other.pids().values() for pid in pids[worker]]
    assert len(proc.living(rest)) == 4
    other.close(timeout=0)
    assert left_at_once(rest) == []


@pytest.mark.parametrize("entry", ENTRIES)
def test_descriptors_run_out_at_some_rank(entry: str, tmp_path: Path) -> None:
    for spare in (8, 40, 100):
        ended = starved(tmp_path, entry, "NOFILE", spare)
        assert ended.stdout in ("EMFILE\n", "ENFILE\n"), ended.stderr
        assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("entry", ENTRIES)
def test_processes_run_out_at_some_rank(entry: str) -> None:
    """Root has as many as it likes, so this is another user's program."""
    if os.geteuid() != 0:
        pytest.skip("needs a user with no other processes: sudo make test")
    with tempfile.TemporaryDirectory(prefix="procession-starved-") as home:
        os.chmod(home, 0o777)
        prefix = as_user(60000 + os.getpid() % 5000, Path(home))  # whose count nobody else changes
        for spare in (1, 20):
            ended = starved(Path(home), entry, "NPROC", spare, *prefix)
            assert ended.stdout == "EAGAIN\n", ended.stderr


def starved(
    directory: Path, entry: str, what: str, spare: int, *prefix: str
) -> subprocess.CompletedProcess[str]:
    """Run starved.py; what it leaves would be seen by the leak check."""
    script = [sys.executable, "-B", str(SCRIPTS / "starved.py")]
    return subprocess.run(
        [*prefix, *script, entry, str(directory / f"logs-{spare}"), what, str(spare)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_terminal_that_goes_away_takes_the_gang_along(
    entry: str, tmp_path: Path, roll: RollCall
) -> None:
    """The kernel sends SIGHUP to the session's leader, which is the caller."""
    pid, terminal = pty.fork()
    if pid == 0:
        script = str(Path(__file__).parents[1] / "stress" / "scripts" / "caller.py")
        words = [entry, str(tmp_path), "0", "gone", "-1", roll.path, "0", "0"]
        # Unbuffered: else the interpreter's last flush fails too, and makes its status 120.
        os.execv(sys.executable, [sys.executable, "-u", "-B", script, *words])
    pids = family(roll)
    os.close(terminal)
    assert left_at_once(pids) == []
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) in (0, 1)  # its last word has no reader
