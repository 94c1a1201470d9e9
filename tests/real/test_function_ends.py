"""How a function worker can end, where it does, by which start method, and what the launcher says.

docs/functions.md has the same table in words.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from procession.errors import RemoteError
from procession.multiprocessing import (
    DefaultLogsSpecs,
    RunProcsResult,
    Std,
    Supervision,
    start_processes,
)

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "scripts"))

import dies_at_import
import dying

METHODS = ["spawn", "fork", "forkserver"]
PATIENCE = 40  # seconds for what takes milliseconds


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
}
# Before the call an end with 0 is a failure: nothing that was asked for has been done.
TOO_EARLY: dict[str, Success | Failure] = {
    "exit 0": Failure(1, "SystemExit: 0", SystemExit),
    "_exit 0": Failure(0, "the worker ended with status 0 before its function was called"),
}
UNPICKLABLE = "PicklingError: the return value, of type Dies, cannot be pickled"
LOST = {
    name: Failure(1, UNPICKLABLE, __import__("pickle").PicklingError)
    for name in ("exception", "MemoryError", "RecursionError", "mute", "stubborn")
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
            for method in METHODS:
                if method != "fork" or place not in ("import", "unpickle"):
                    yield pytest.param(place, way, method, expected, id=f"{place}-{way}-{method}")


def run(tmp: Path, place: str, way: str, method: str) -> RunProcsResult:
    args = {"import": (), "unpickle": (dying.Dies(way),)}.get(place, (way,))
    env = {"import": {"DIES_BY": way}}.get(place, {"DIES_AT": place})
    gang = start_processes(
        name="w",
        entrypoint=FUNCTIONS[place],
        args={0: args},
        envs={0: env},
        logs_specs=DefaultLogsSpecs(str(tmp), redirects=Std.ALL),
        start_method=method,
        supervision=Supervision(shutdown_timeout=5),
    )
    try:
        result = gang.wait(PATIENCE)
    finally:
        gang.close()
    assert result is not None
    return result


@pytest.mark.parametrize(("place", "way", "method", "expected"), list(rows()))
def test_ends(
    tmp_path: Path, place: str, way: str, method: str, expected: Success | Failure
) -> None:
    result = run(tmp_path, place, way, method)
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
