"""What a run came to: its exit status, its record in report.json, and why a start failed."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from procession.cli.command import Command
from procession.cli.execute import random_id, restart_line
from procession.cli.exits import exit_status
from procession.cli.record import Attempt, Record, ending
from procession.cli.starting import start_error
from procession.errors import (
    GuardianLostError,
    ProgramNotExecutableError,
    ProgramNotFoundError,
    StartError,
    UsageError,
)
from procession.multiprocessing import ProcessFailure, RunProcsResult, SignalException
from procession.multiprocessing.errors import ChildFailedError


def failure(rank: int, exitcode: int, at: int = 0) -> ProcessFailure:
    return ProcessFailure(
        local_rank=rank, pid=100 + rank, exitcode=exitcode, error_file="", timestamp_ns=at
    )


def failed(*exitcodes: int) -> ChildFailedError:
    return ChildFailedError("s.py", {i: failure(i, code, i) for i, code in enumerate(exitcodes)})


SIGNALLED = SignalException("", signal.SIGHUP)
ENDS: list[tuple[BaseException | None, int, str, str | None]] = [
    (None, 0, "succeeded", None),
    (failed(42), 42, "failed", "worker"),
    (failed(42, 1), 42, "failed", "worker"),
    (failed(-9, 1), 137, "failed", "worker"),
    (failed(-signal.SIGRTMAX), 128 + signal.SIGRTMAX, "failed", "worker"),
    (SIGNALLED, 129, "signalled", "signal"),
    (KeyboardInterrupt(), 130, "signalled", "signal"),
    (UsageError("x"), 2, "broken", "procession"),
    (StartError("x"), 71, "broken", "procession"),
    (GuardianLostError("x"), 71, "broken", "procession"),
    (ProgramNotFoundError("x"), 127, "broken", "procession"),
    (ProgramNotExecutableError("x"), 126, "broken", "procession"),
    (RuntimeError("x"), 70, "broken", "procession"),
]


@pytest.mark.parametrize(("error", "status", "outcome", "origin"), ENDS)
def test_ends(error: BaseException | None, status: int, outcome: str, origin: str | None) -> None:
    assert exit_status(error) == status
    assert ending(error) == (outcome, origin)


def read(record: Record, error: BaseException | None) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(record.text(error, 9))
    return data


def test_the_record_of_two_attempts() -> None:
    record = Record("s.py", "id", [Attempt(0, 4321, 5), Attempt(1, 4322, 7)])
    record.attempts[0].end(
        RunProcsResult(failures={1: failure(1, -9)}, stopped={0: failure(0, -15)}), "s.py"
    )
    record.attempts[1].end(RunProcsResult(return_values={0: None}), "s.py")
    data = read(record, None)
    assert [attempt.pop("failures") for attempt in data["attempts"]][1] == []
    assert [view["exitcode"] for view in data["attempts"][0].pop("stopped")] == [-15]
    assert data["attempts"][1].pop("stopped") == []
    assert data == {
        "outcome": "succeeded",
        "origin": None,
        "exit_code": 0,
        "signal": None,
        "message": None,
        "name": "s.py",
        "run_id": "id",
        "started_ns": 5,
        "ended_ns": 9,
        "attempts": [
            {"number": 0, "master_port": 4321, "started_ns": 5},
            {"number": 1, "master_port": 4322, "started_ns": 7},
        ],
    }


def test_the_root_cause_comes_first_in_the_record() -> None:
    attempt = Attempt(0, 1, 2)
    attempt.end(RunProcsResult(failures={0: failure(0, 1, at=20), 3: failure(3, 5, at=10)}), "s.py")
    assert [(view["rank"], view["exitcode"]) for view in attempt.failures] == [(3, 5), (0, 1)]


def test_who_ended_a_run() -> None:
    record = Record("s.py", "id", [Attempt(0, 1, 2)])
    assert read(record, SIGNALLED)["signal"] == "SIGHUP"
    assert read(record, GuardianLostError("gone"))["message"] == "gone"
    assert read(record, failed(3))["message"] is None


def test_what_is_said_before_another_attempt() -> None:
    one = RunProcsResult(failures={2: failure(2, -11)})
    two = RunProcsResult(failures={2: failure(2, 3), 0: failure(0, 1)})
    assert restart_line(one, 2, 4) == "rank 2 failed (SIGSEGV); attempt 2 of 4 starts"
    assert (
        restart_line(two, 4, 4) == "rank 2 and 1 more failed (exit code 3); attempt 4 of 4 starts"
    )


def test_a_random_id_is_a_uuid() -> None:
    from uuid import UUID

    made = {random_id() for _ in range(10)}
    assert len(made) == 10
    assert {UUID(each).version for each in made} == {4}
    assert [each for each in made if str(UUID(each)) != each] == []


def os_error(number: int, path: str, rank: int | None = 5) -> OSError:
    error = OSError(number, os.strerror(number), path)
    if rank is not None:
        error.local_rank = rank  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("number", "rank", "kind", "message"),
    [
        (
            errno.EACCES,
            5,
            ProgramNotExecutableError,
            "Local rank 5 could not be started: /x/y: Permission denied. "
            "To make it executable: chmod +x /x/y",
        ),
        (
            errno.ENOEXEC,
            0,
            ProgramNotExecutableError,
            "Local rank 0 could not be started: /x/y: Exec format error. "
            "Does its first line lack an interpreter, such as #!/bin/sh?",
        ),
        (
            errno.ENOENT,
            5,
            ProgramNotFoundError,
            "Local rank 5 could not be started: /x/y: No such file or directory. Was it removed?",
        ),
        (
            errno.EAGAIN,
            7,
            StartError,
            "Local rank 7 could not be started: /x/y: Resource temporarily unavailable (too many "
            "processes; see ulimit -u and the pids limit of the cgroup). No worker is left running.",
        ),
        (
            errno.EMFILE,
            None,
            StartError,
            "The run could not be started: /x/y: Too many open files (too many open files; raise "
            "the limit by ulimit -n). No worker is left running.",
        ),
        (
            errno.EIO,
            None,
            StartError,
            "The run could not be started: /x/y: Input/output error. No worker is left running.",
        ),
    ],
)
def test_why_a_start_failed(
    number: int, rank: int | None, kind: type[Exception], message: str
) -> None:
    error = start_error(os_error(number, "/x/y", rank), Command("/x/y", ()))
    assert type(error) is kind
    assert str(error) == message


def test_a_lost_interpreter_is_named(tmp_path: Path) -> None:
    script = tmp_path / "tool"
    script.write_text("#!/no/such/python -u\nprint()\n")
    assert str(start_error(os_error(errno.ENOENT, str(script)), Command("tool", ()))) == (
        f"Local rank 5 could not be started: {script}: No such file or directory. "
        "It is there, but its interpreter is not: /no/such/python -u"
    )
    script.write_bytes(b"\x7fELF")
    assert str(start_error(os_error(errno.ENOENT, str(script)), Command("tool", ()))).endswith(
        "It is there, but the loader or a library that it needs is not."
    )
