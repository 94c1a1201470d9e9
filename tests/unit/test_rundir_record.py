"""What a run came to: its exit status, its record in report.json, and why a start failed."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
from pathlib import Path

import pytest

from procession.cli.exits import exit_status
from procession.cli.plan.command import Command
from procession.cli.record import Record, message, origin
from procession.cli.run.execute import stopping_line
from procession.cli.run.starting import start_error
from procession.cli.runid import random_id
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
ENDS: list[tuple[BaseException | None, int, str, str]] = [
    (None, 0, "worker", ""),
    (failed(42), 42, "worker", ""),
    (failed(42, 1), 42, "worker", ""),
    (failed(-9, 1), 137, "worker", ""),
    (failed(-signal.SIGRTMAX), 128 + signal.SIGRTMAX, "worker", ""),
    (SIGNALLED, 129, "signal", "SIGHUP ended the run"),
    (KeyboardInterrupt(), 130, "signal", ""),
    (UsageError("x"), 2, "usage", "x"),
    (StartError("x"), 71, "start", "x"),
    (ProgramNotFoundError("x"), 127, "start", "x"),
    (ProgramNotExecutableError("x"), 126, "start", "x"),
    (GuardianLostError("x"), 71, "internal", "x"),
    (RuntimeError("x"), 70, "internal", "x"),
]


@pytest.mark.parametrize(("error", "status", "whose", "words"), ENDS)
def test_ends(error: BaseException | None, status: int, whose: str, words: str) -> None:
    assert (exit_status(error), origin(error), message(error)) == (status, whose, words)
    record = Record("s.py", "id")
    record.begin_attempt(0, 4321, 5)
    document = json.loads(json.dumps(record.document(error, 9)))
    told = (document["exit_code"], document["origin"], document["message"])
    assert told == (status, whose, words)


def test_the_record_of_two_attempts() -> None:
    record = Record("s.py", "id")
    first = record.begin_attempt(0, 4321, 5)
    first.result = RunProcsResult(failures={1: failure(1, -9)}, stopped={0: failure(0, -15)})
    record.begin_attempt(1, 4322, 7).result = RunProcsResult(return_values={0: None})
    document = record.document(None, 9)
    (earlier,) = document.pop("earlier_attempts")
    assert [view["exitcode"] for view in earlier.pop("failures")] == [-9]
    assert [view["exitcode"] for view in earlier.pop("stopped")] == [-15]
    assert earlier.pop("ledger") == {"workers": [], "swept": [], "stuck": []}
    assert earlier.pop("root_cause")["rank"] == 1
    assert earlier == {"attempt": 0, "master_port": 4321, "started_ns": 5}
    assert document == {
        "state": "ended",
        "version": 1,
        "origin": "worker",
        "exit_code": 0,
        "name": "s.py",
        "run_id": "id",
        "attempt": 1,
        "message": "",
        "root_cause": None,
        "failures": [],
        "stopped": [],
        "ledger": {"workers": [], "swept": [], "stuck": []},
        "started_ns": 5,
        "ended_ns": 9,
    }


def test_the_root_cause_comes_first_in_the_record() -> None:
    record = Record("s.py", "id")
    result = RunProcsResult(failures={0: failure(0, 1, at=20), 3: failure(3, 5, at=10)})
    record.begin_attempt(0, 1, 2).result = result
    document = record.document(ChildFailedError("s.py", result.failures), 9)
    assert [(view["rank"], view["exitcode"]) for view in document["failures"]] == [(3, 5), (0, 1)]
    assert document["exit_code"] == document["root_cause"]["exitcode"] == 5


@pytest.mark.parametrize(
    ("grace", "line"),
    [
        (
            30.0,
            "SIGHUP: the workers get SIGTERM, and SIGKILL after 30 s; "
            "a further signal kills them at once",
        ),
        (math.inf, "SIGHUP: the workers get SIGTERM; a further signal kills them at once"),
        (0.0, "SIGHUP: the workers get SIGKILL"),
    ],
)
def test_what_is_said_when_a_run_is_stopped(grace: float, line: str) -> None:
    assert stopping_line(signal.SIGHUP, grace) == line


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
