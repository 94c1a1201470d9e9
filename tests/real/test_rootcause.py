"""Whom the report blames, by evidence: causes that die after their victims, or a moment before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import procession
from procession.multiprocessing import (
    DefaultLogsSpecs,
    RunProcsResult,
    Std,
    Supervision,
    start_processes,
)

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "scripts"))
import causes
import interrupted

ENTRIES = ["script", "spawn", "fork", "forkserver"]
SCRIPT = Path(procession.__file__).parent / "_worker" / "script.py"


def run(entry: str, directory: Path, how: str) -> RunProcsResult:
    os.mkfifo(directory / "fifo")
    words = (str(SCRIPT), causes.__file__, str(directory), how)
    context = start_processes(
        "w",
        sys.executable if entry == "script" else causes.main,
        {r: words if entry == "script" else (r, str(directory), how) for r in (0, 1)},
        {r: {"RANK": str(r)} for r in (0, 1)},
        DefaultLogsSpecs(str(directory / "logs"), redirects=Std.ALL),
        start_method="spawn" if entry == "script" else entry,
        supervision=Supervision(shutdown_timeout=20),
    )
    result = context.wait()
    assert result is not None
    return result


@pytest.mark.parametrize("time", range(10))
def test_a_killed_rank_and_its_victim_5_ms_later(time: int, tmp_path: Path) -> None:
    result = run("script", tmp_path, "killed")
    assert next(iter(result.failures)) == 1
    assert result.failures[1].exitcode == -signal.SIGKILL


def test_deaths_that_a_guardian_without_pidfds_sees_at_once(tmp_path: Path) -> None:
    """It was stopped meanwhile: the first of them is the cause, whatever its rank."""
    script = Path(__file__).parent / "scripts" / "at_once.py"
    deny = ("-m", "procession.testing.deny", "pidfd_open", "--", sys.executable)
    ended = subprocess.run(
        [sys.executable, *deny, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ended.stdout == "3 3\n1 1\n", ended.stderr


@pytest.mark.parametrize("entry", ["spawn", "fork", "forkserver"])
def test_a_killed_function_and_its_victim(entry: str, tmp_path: Path) -> None:
    assert next(iter(run(entry, tmp_path, "killed").failures)) == 1


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("how", ["raises", "leaves"])
def test_a_cause_that_is_slow_to_end(entry: str, how: str, tmp_path: Path) -> None:
    """It raises, or leaves with a status; its exit functions take their time; the victim dies first."""
    result = run(entry, tmp_path, how)
    failures = result.failures
    assert list(failures) == [1, 0]
    first, victim = failures[1].timestamp_ns, failures[0].timestamp_ns
    assert first is not None
    assert victim is not None
    assert victim - first > 15e6
    assert ("the cause" in str(failures[1].message)) == (how == "raises")
    assert failures[0].exitcode == 5
    assert failures[1].exitcode == {"raises": 1, "leaves": 3}[how]
    assert failures[1].evidence.hastened_by == "SIGTERM"
    (ledger,) = [fate for fate in result.ledger.workers if fate.rank == 1]
    assert (ledger.exitcode, ledger.ended_by, ledger.told) == (-15, "itself", "SIGTERM")


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_was_raised_before_the_stop_is_on_record_after_it(entry: str, tmp_path: Path) -> None:
    """SIGTERM comes between the raise and the word of it; the word is kept, and the signal obeyed."""
    words = (str(SCRIPT), interrupted.__file__, str(tmp_path))
    context = start_processes(
        "w",
        sys.executable if entry == "script" else interrupted.main,
        {0: words if entry == "script" else (str(tmp_path),)},
        {0: {}},
        DefaultLogsSpecs(str(tmp_path / "logs"), redirects=Std.ALL),
        start_method="spawn" if entry == "script" else entry,
    )
    result = context.wait()
    assert result is not None
    assert result.failures[0].exitcode == -signal.SIGTERM
    assert "raised before" in str(result.failures[0].message)
