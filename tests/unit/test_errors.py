"""ProcessFailure, ChildFailedError and record: torch's rules, and ours where torch's are repaired."""

from __future__ import annotations

import json
import logging
import os
import pickle
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest

from procession._report.evidence import Evidence
from procession.multiprocessing.errors import (
    ChildFailedError,
    ErrorHandler,
    ProcessFailure,
    get_error_handler,
    record,
)

SECOND = 10**9
TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1\nValueError: x\n'


@pytest.fixture
def error_json(tmp_path: Path) -> Path:
    return tmp_path / "error.json"


def failure(
    exitcode: int = 1, error_file: object = "", at_s: int = 100, **known: Any
) -> ProcessFailure:
    return ProcessFailure(0, 7, exitcode, str(error_file), timestamp_ns=at_s * SECOND, **known)


def written(path: Path, message: object = None, **extra: object) -> str:
    plain = {"message": "ValueError: x", "extraInfo": {"py_callstack": TRACEBACK, **extra}}
    path.write_text(json.dumps({"message": message or plain}))
    return str(path)


# --- ProcessFailure ---


def test_a_failure_with_an_error_file(error_json: Path) -> None:
    path = written(error_json, timestamp="10")
    failed = ProcessFailure(3, 7, 1, path)
    assert failed.message == json.loads(error_json.read_text())["message"]
    assert failed.error_file_data == json.loads(error_json.read_text())
    assert (failed.timestamp, failed.timestamp_ns) == (10, 10 * SECOND)
    assert (failed.error_file, failed.problem) == (path, None)
    assert failed.timestamp_isoformat() == time.strftime("%Y-%m-%d_%H:%M:%S", time.localtime(10))


def test_a_failure_with_a_plain_message(error_json: Path) -> None:
    error_json.write_text('{"message": "kernel panic", "timestamp": 10}')
    failed = ProcessFailure(3, 7, 1, str(error_json))
    assert (failed.message, failed.timestamp) == ("kernel panic", 10)
    assert failed.error_file_data == {"message": "kernel panic", "timestamp": 10}


@pytest.mark.parametrize("error_file", ["", "/nowhere/error.json", os.devnull, "/tmp"])
def test_a_failure_without_an_error_file(error_file: str) -> None:
    before = time.time_ns()
    failed = ProcessFailure(3, 7, -9, error_file)
    assert failed.error_file == "<N/A>"
    assert failed.error_file_data == {"message": "<NONE>"}
    assert failed.message == "Signal 9 (SIGKILL) received by PID 7"
    assert failed.timestamp_ns is not None
    assert before <= failed.timestamp_ns <= time.time_ns()
    assert failed.timestamp == failed.timestamp_ns // SECOND


def test_the_time_given_wins_over_the_file(error_json: Path) -> None:
    assert failure(error_file=written(error_json, timestamp=10), at_s=77).timestamp == 77


def test_a_failure_of_another_host_keeps_its_host() -> None:
    assert failure(host="node7").host == "node7"
    assert failure().host == os.uname().nodename


@pytest.mark.parametrize(
    ("evidence", "message"),
    [
        (
            Evidence(stderr="/log", last_lines=("a", "b")),
            "exit code 3; last lines of stderr:\na\nb",
        ),
        (Evidence(stderr="/log"), "exit code 3, no traceback and nothing on stderr"),
        (Evidence(), "exit code 3, no traceback; stderr was not captured"),
    ],
)
def test_the_words_of_an_exit_code(evidence: Evidence, message: str) -> None:
    failed = failure(3, evidence=evidence)
    assert failed.message == message
    assert failed.error_file_data["errorTraits"]["category"] == "system_terminated_error"


@pytest.mark.parametrize(
    ("exitcode", "message"),
    [
        (3, "exit code 3; {} is torn, no traceback; stderr was not captured"),
        (-11, "Signal 11 (SIGSEGV) received by PID 7; {} is torn"),
    ],
)
def test_a_torn_error_file_is_told_and_raises_nothing(
    exitcode: int, message: str, error_json: Path
) -> None:
    error_json.write_text('{"message": {"mess')
    failed = failure(exitcode, error_json)
    assert failed.message == message.format(error_json)
    assert (failed.problem, failed.error_file) == ("torn", str(error_json))
    assert failed.error_file_data["message"] == "<NONE>"


def test_failures_do_not_share_their_data() -> None:
    assert "errorTraits" in failure(3).error_file_data
    assert failure(-9).error_file_data == {"message": "<NONE>"}


@pytest.mark.parametrize(
    ("exitcode", "name"),
    [(-9, "SIGKILL"), (-40, "<N/A>"), (-99, "<N/A>"), (0, "<N/A>"), (9, "<N/A>")],
)
def test_signal_names(exitcode: int, name: str) -> None:
    assert failure(exitcode).signal_name() == name


# --- ChildFailedError ---


def test_the_first_failure_is_the_earliest() -> None:
    error = ChildFailedError("x", {0: failure(at_s=3), 1: failure(at_s=2), 2: failure(at_s=2)})
    assert error.get_first_failure() == (1, error.failures[1])


def test_nanoseconds_decide() -> None:
    late, early = (ProcessFailure(0, 7, 1, "", timestamp_ns=SECOND + ns) for ns in (9, 8))
    assert ChildFailedError("x", {0: late, 1: early}).get_first_failure()[0] == 1


def test_it_is_of_at_least_one_failure() -> None:
    with pytest.raises(AssertionError, match="at least one failure"):
        ChildFailedError("x", {})


def test_its_text_is_the_report(error_json: Path) -> None:
    evidence = Evidence(duration=1.25, stdout="/o", stderr="/s", last_lines=("not shown",))
    first = failure(error_file=written(error_json), evidence=evidence, at_s=2)
    others = {0: failure(3, at_s=3, evidence=Evidence(core_dumped=True))}
    error = ChildFailedError("train.py", {**others, 12: first}, {5: failure(-15), 4: failure(-15)})
    text = str(error)
    assert text == error.format_msg("=", "-")
    assert text.startswith("\n====")
    assert "\ntrain.py FAILED\n" in text
    assert "\nranks 4-5 stopped by procession (SIGTERM)\n" in text
    assert text.index("rank 0 (pid: 7), 1.0 s after") < text.index(
        "  rank      : 12 (local_rank: 0)"
    )
    assert ".000000, 1.2 s after its start" in text
    for path in ("/o", "/s", str(error_json)):
        assert f": {path}\n" in text
    assert "    ValueError: x\n===" in text
    assert "http" not in text
    assert set(error.format_msg("*").split("\n")[1]) == {"*"}


def test_a_torn_error_file_stands_beside_its_rank(error_json: Path) -> None:
    error_json.write_text("{")
    text = str(ChildFailedError("x", {0: failure(3, error_json)}))
    assert "  rank      : 0 (local_rank: 0), its error.json is torn\n" in text


def test_words_that_we_made_up_are_not_shown_as_the_workers() -> None:
    evidence = Evidence(stderr="/s", last_lines=("boom",))
    text = str(ChildFailedError("x", {0: failure(3, evidence=evidence)}))
    assert "message" not in text
    assert text.count("boom") == 1


def test_a_plain_message_is_shown(error_json: Path) -> None:
    text = str(ChildFailedError("x", {0: failure(3, written(error_json, "kernel panic"))}))
    assert "  message   :\n    kernel panic\n===" in text


def test_the_plain_data_of_the_report(error_json: Path) -> None:
    path = written(error_json, exception_type="mod.ValueError")
    error = ChildFailedError("x", {0: failure(-9, at_s=9), 1: failure(1, path, at_s=8)})
    report = error.report()
    assert [view.rank for view in report.failures] == [1, 0]
    assert report.failures[0].exception_type == "mod.ValueError"
    assert report.failures[0].message == "ValueError: x"
    assert report.failures[0].timestamp_ns == 8 * SECOND
    assert (report.failures[1].error_file, report.failures[1].message) == ("", "")


def test_it_survives_pickling(error_json: Path) -> None:
    error = ChildFailedError(
        "x", {4: failure(1, written(error_json), host="node7")}, {5: failure(-15)}
    )
    error_json.unlink()
    error.__dict__["note"] = "of the caller"
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is ChildFailedError
    assert (copy.name, copy.failures, copy.stopped) == (error.name, error.failures, error.stopped)
    assert (str(copy), vars(copy)) == (str(error), vars(error))


# --- record ---


class Handler(ErrorHandler):
    """Notes what it is asked for; raises where it is told to."""

    def __init__(self, *broken: str) -> None:
        self.broken = broken
        self.asked: list[object] = []

    def _note(self, *what: object) -> None:
        self.asked.append(what)
        if what[0] in self.broken:
            raise OSError("disk full")

    def initialize(self) -> None:
        self._note("initialize")

    def record_exception(self, e: BaseException) -> None:
        self._note("record", e)

    def dump_error_file(self, rootcause_error_file: str, error_code: int = 0) -> None:
        self._note("dump", rootcause_error_file, error_code)


def fail_with(exc: BaseException) -> NoReturn:
    raise exc


def test_the_usual_handler() -> None:
    assert type(get_error_handler()) is ErrorHandler


def test_a_return_value_passes() -> None:
    handler = Handler()

    def add(a: int, b: int = 0) -> int:
        """Add."""
        return a + b

    recorded = record(add, handler)
    assert recorded(2, b=3) == 5
    assert (recorded.__name__, recorded.__doc__) == ("add", "Add.")
    assert handler.asked == [("initialize",)]


def test_an_exception_is_recorded_and_raised() -> None:
    handler, exc = Handler(), ValueError("x")
    with pytest.raises(ValueError, match="x") as caught:
        record(fail_with, handler)(exc)
    assert caught.value is exc
    assert handler.asked == [("initialize",), ("record", exc)]


def test_an_exception_is_in_the_error_file(
    error_json: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(error_json))
    monkeypatch.setattr(ErrorHandler, "initialize", lambda self: None)
    with pytest.raises(ValueError, match="x"):
        record(fail_with)(ValueError("x"))
    message = ProcessFailure(0, 7, 1, str(error_json)).message
    assert isinstance(message, dict)
    assert message["message"] == "ValueError: x"
    assert "fail_with" in message["extraInfo"]["py_callstack"]


def test_exit_with_0_is_a_return() -> None:
    assert record(fail_with, Handler())(SystemExit(0)) is None


@pytest.mark.parametrize(
    "exc", [SystemExit(3), SystemExit(None), SystemExit("x"), KeyboardInterrupt()]
)
def test_other_exits_pass_unrecorded(exc: BaseException) -> None:
    handler = Handler()
    with pytest.raises(type(exc)) as caught:
        record(fail_with, handler)(exc)
    assert caught.value is exc
    assert handler.asked == [("initialize",)]


def test_the_error_file_of_the_first_failure_is_handed_on(error_json: Path) -> None:
    handler, path = Handler(), written(error_json)
    error = ChildFailedError("x", {0: failure(2, at_s=9), 1: failure(-11, path, at_s=8)})
    with pytest.raises(ChildFailedError) as caught:
        record(fail_with, handler)(error)
    assert caught.value is error
    assert handler.asked == [("initialize",), ("dump", path, -11)]


def test_a_failure_without_an_error_file_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    handler, error = Handler(), ChildFailedError("x", {3: failure(-9)})
    with caplog.at_level(logging.INFO), pytest.raises(ChildFailedError):
        record(fail_with, handler)(error)
    assert handler.asked == [("initialize",)]
    expected = "rank 3 failed without an error file: Signal 9 (SIGKILL) received by PID 7"
    assert caplog.messages == [expected]


@pytest.mark.parametrize("raises", [ValueError("x"), None])
@pytest.mark.parametrize("step", ["initialize", "record"])
def test_a_broken_handler_does_not_hide_what_happened(
    step: str, raises: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    function = record(fail_with if raises else str, Handler(step))
    if raises is None:
        assert function("ran") == "ran"
        return
    with pytest.raises(ValueError, match="x") as caught:
        function(raises)
    assert caught.value is raises
    assert "the error handler could not" in caplog.text
    assert "disk full" in caplog.text


def test_an_error_file_that_cannot_be_handed_on_is_logged(
    error_json: Path, caplog: pytest.LogCaptureFixture
) -> None:
    error = ChildFailedError("x", {0: failure(1, written(error_json))})
    with pytest.raises(ChildFailedError) as caught:
        record(fail_with, Handler("dump"))(error)
    assert caught.value is error
    assert f"the error handler could not hand on {error_json}" in caplog.text


def test_a_torn_error_file_is_handed_on_as_the_fact_that_it_is_one(
    error_json: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error_json.write_text("{")
    error = ChildFailedError("x", {0: failure(1, error_json)})
    ours = tmp_path / "parent.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(ours))
    monkeypatch.setattr(ErrorHandler, "initialize", lambda self: None)
    with pytest.raises(ChildFailedError):
        record(fail_with)(error)
    assert "is torn" in str(ProcessFailure(0, 7, 1, str(ours)).message)
