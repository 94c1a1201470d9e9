"""How a function worker can end, where it does, by which start method, and what the launcher says.

docs/functions.md has the same table in words.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from traceback import walk_tb
from typing import Any, NamedTuple

import pytest
from tests.real.functions import METHODS, PATIENCE, end, launch

from procession._worker import function
from procession._worker.as_main import exit_status
from procession.errors import RemoteError
from procession.multiprocessing import (
    RunProcsResult,
)
from procession.multiprocessing.errors import ChildFailedError
from procession.testing import RollCall, wait_gone

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "scripts"))

import dies_at_import
import dying

BARE = "bare forkserver"  # of a launcher that has never imported multiprocessing


class Success(NamedTuple):
    """The worker ended with 0."""

    value: Any = None


class Failure(NamedTuple):
    """It failed: its exit code, what its failure's message begins with, and its exception's class."""

    exitcode: int
    message: str = ""
    exception: type[BaseException] | None = None


KILLED = Failure(-signal.SIGKILL, "Signal 9 (SIGKILL)")
FAULT = Failure(-signal.SIGSEGV, "Signal 11 (SIGSEGV)")
INTERRUPTED = Failure(-signal.SIGINT, "KeyboardInterrupt: ", KeyboardInterrupt)
BOOM = Failure(1, "ValueError: boom", ValueError)
RETURNED = Success("returned")

# What ends a worker the same way wherever it strikes.
ANYWHERE: dict[str, Success | Failure] = {
    "exception": BOOM,
    "exit 3": Failure(3, "exit code 3"),
    "exit text": Failure(1, "exit code 1; last lines of stderr:\ngood bye"),
    "_exit 3": Failure(3, "exit code 3"),
    "KeyboardInterrupt": INTERRUPTED,
    "SIGKILL": KILLED,
    "SIGSEGV": FAULT,
    "MemoryError": Failure(1, "MemoryError: ", MemoryError),
    "RecursionError": Failure(1, "RecursionError: maximum recursion depth", RecursionError),
    "mute": Failure(1, "MuteError: <exception str() failed>", dying.MuteError),
    "stubborn": Failure(1, "StubbornError: x", RemoteError),
    "frozen": Failure(1, "FrozenError: 5", RemoteError),
}
# Before the call an end with 0 is a failure: nothing that was asked for has been done.
TOO_EARLY: dict[str, Success | Failure] = {
    "exit 0": Failure(1, "SystemExit: 0", SystemExit),
    "_exit 0": Failure(0, "the worker ended with status 0 before its function was called"),
}
UNPICKLABLE = "PicklingError: the return value, of type Dies, cannot be pickled"
LOST = {
    name: Failure(1, UNPICKLABLE, __import__("pickle").PicklingError)
    for name in ("exception", "MemoryError", "RecursionError", "mute", "stubborn", "frozen")
}
# Exit functions: Python prints what they raise and goes on.
IGNORED = dict.fromkeys(
    ("exception", "exit 0", "exit 3", "exit text", "KeyboardInterrupt", "MemoryError",
     "RecursionError", "mute", "stubborn"),
    RETURNED,
)  # fmt: skip

TABLE: dict[str, dict[str, Success | Failure]] = {
    "import": {**ANYWHERE, **TOO_EARLY},
    "unpickle": {**ANYWHERE, **TOO_EARLY},
    "call": {**ANYWHERE, "exit 0": Success(), "_exit 0": Success()},
    "result": {
        **ANYWHERE,
        **LOST,
        "exit 0": Failure(1, "SystemExit: 0", SystemExit),
        "_exit 0": Failure(0, "the worker ended with status 0 while its return value was pickled"),
    },
    "thread after the result": {
        **IGNORED,
        "_exit 0": RETURNED,
        "_exit 3": ANYWHERE["_exit 3"],
        "SIGKILL": KILLED,
        "SIGSEGV": FAULT,
    },
    "exit": {
        **IGNORED,
        "_exit 0": RETURNED,
        "_exit 3": ANYWHERE["_exit 3"],
        "SIGKILL": KILLED,
        "SIGSEGV": FAULT,
    },
}

FUNCTIONS: dict[str, Any] = {
    "import": dies_at_import.work,
    "unpickle": dying.at_unpickle,
    "call": dying.at_call,
    "result": dying.at_result,
    "thread after the result": dying.in_thread_after_result,
    "exit": dying.at_exit,
}


def rows() -> Iterator[Any]:
    for place, ways in TABLE.items():
        for way, expected in ways.items():
            for method in (*METHODS, BARE):
                if method != "fork" or place not in ("import", "unpickle"):
                    yield pytest.param(place, way, method, expected, id=f"{place}-{way}-{method}")


def run(tmp: Path, place: str, way: str, method: str) -> RunProcsResult:
    args = {"import": (), "unpickle": (dying.Dies(way),)}.get(place, (way,))
    env = {"import": {"DIES_BY": way}}.get(place, {"DIES_AT": place})
    return end(launch(tmp, method, FUNCTIONS[place], {0: args}, **env))


def forget_multiprocessing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("multiprocessing")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize(("place", "way", "method", "expected"), list(rows()))
def test_ends(
    tmp_path: Path,
    place: str,
    way: str,
    method: str,
    expected: Success | Failure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if method == BARE:
        forget_multiprocessing(monkeypatch)
    result = run(tmp_path, place, way, method.removeprefix("bare "))
    if isinstance(expected, Success):
        assert result.failures == {}
        assert result.return_values == {0: expected.value}
        return
    assert result.return_values == {}
    failure = result.failures[0]
    words = failure.message if isinstance(failure.message, str) else failure.message["message"]
    assert (failure.exitcode, words[: len(expected.message)]) == (
        expected.exitcode,
        expected.message,
    )
    assert type(failure.exception) is (expected.exception or type(None))
    told_by_file = expected.exception is not None
    assert (failure.error_file != "<N/A>") == told_by_file


# What Python makes of the odd things that programs leave with: an empty list of errors, a text.
STATUSES: list[tuple[object, int]] = [([], 1), ("", 1), (256, 0), (2**70, 255)]


@pytest.mark.parametrize("method", [*METHODS, BARE])
def test_statuses_are_pythons(tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if method == BARE:
        forget_multiprocessing(monkeypatch)
    for code, status in STATUSES:
        result = end(launch(tmp_path, method.removeprefix("bare "), dying.exits, {0: (code,)}))
        assert [failure.exitcode for failure in result.failures.values()] == [status] * (status > 0)


def test_statuses_of_pythons_own() -> None:
    for code, status in (*STATUSES, (0.0, 1), (False, 0), (-1, 255), (-(2**63), 0)):
        python = subprocess.run(
            [sys.executable, "-c", f"raise SystemExit({code!r})"],
            check=False,
            stderr=subprocess.DEVNULL,
        )
        assert (python.returncode, exit_status(code)) == (status, status)


@pytest.mark.parametrize("method", METHODS)
def test_a_worker_that_hangs_after_its_function_has_returned(tmp_path: Path, method: str) -> None:
    """It is waited for, as Python and torch wait for exit functions; `close` ends it, and keeps its value."""
    with (
        RollCall() as roll,
        launch(tmp_path, method, dying.hangs_at_exit, {0: (roll.path,), 1: (None,)}) as gang,
    ):
        roll.wait(1)
        assert wait_gone([gang.pids()[1]]) == []  # it has returned, and ended
        assert gang.wait(0.1) is None
        gang.close(timeout=PATIENCE)
        result = gang.wait()
    assert result is not None
    assert result.is_failed()
    assert result.failures == {}
    assert result.return_values == {0: "returned", 1: "returned"}
    assert list(result.stopped) == [0]
    message = (
        f"Signal 15 (SIGTERM) received by PID {result.stopped[0].pid}; its function had returned"
    )
    assert result.stopped[0].message == message


@pytest.mark.parametrize("place", ["__reduce__", "__str__"])
def test_an_exception_whose_own_code_hangs(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function has failed, and the gang must learn of it."""
    monkeypatch.setattr(function, "_MOST_TO_TELL", 0.5)
    gang = launch(tmp_path, "fork", dying.raises_what_hangs, {0: (place,)})
    result = end(gang)
    failure = result.failures[0]
    assert (failure.exitcode, failure.exception) == (-signal.SIGALRM, None)
    if place == "__reduce__":  # which is asked after the words
        assert isinstance(failure.message, dict)
        assert failure.message["message"] == "HangsError: "
    assert "in hang" in Path(result.stderrs[0]).read_text()


def test_a_function_that_raises_beside_a_timer_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may go off while ours is set."""
    monkeypatch.setattr(faulthandler, "register", lambda *_, **__: time.sleep(0.05))
    failure = end(launch(tmp_path, "fork", dying.raises_beside_a_timer, {0: ()})).failures[0]
    assert (failure.exitcode, type(failure.exception)) == (1, ValueError)


@pytest.mark.parametrize("method", METHODS)
def test_the_root_cause_may_have_ended_with_zero(tmp_path: Path, method: str) -> None:
    """A rank that leaves while its value is pickled is why its peer fails."""
    with RollCall() as roll:
        args = {0: ("peer", roll.path), 1: ("_exit 0", roll.path)}
        with launch(tmp_path, method, dying.at_result_of_one, args, DIES_AT="result") as gang:
            (ready,) = roll.wait(1)
            assert wait_gone([ready.pid]) == []
            os.kill(gang.pids()[0], signal.SIGKILL)
            result = gang.wait(PATIENCE)
    assert result is not None
    assert list(result.failures) == [1, 0]
    assert [failure.exitcode for failure in result.failures.values()] == [0, -signal.SIGKILL]
    report = str(ChildFailedError("x", result.failures))
    assert "ended with status 0 while its return value was pickled" in report


@pytest.mark.parametrize("method", METHODS)
def test_every_rank_that_raised_is_told_with_its_own_exception(tmp_path: Path, method: str) -> None:
    barrier = multiprocessing.get_context(method).Barrier(3)
    args = {rank: (rank, barrier) for rank in range(3)}
    result = end(launch(tmp_path, method, dying.raise_together, args))
    assert set(result.failures) == {0, 1, 2}
    assert result.stopped == {}
    for rank, failure in result.failures.items():
        error = failure.exception
        assert type(error) is ValueError
        assert error.args == (f"of rank {rank}",)
        assert type(error.__cause__) is KeyError
        places = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
        assert [name for name, _ in places] == [dying.__file__]
    error = ChildFailedError("x", result.failures)
    assert error.__cause__ is next(iter(result.failures.values())).exception
