"""The worker's side of error.json: whatever is raised, a whole file that says so."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession._report.errorfile import read_error_file
from procession._worker import errorfile

if TYPE_CHECKING:
    from collections.abc import Callable

ENVIRONMENT = ("RANK", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_ERROR_FILE")


@pytest.fixture(autouse=True)
def _no_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "error.json")


class BadStrError(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class NamelessType(type):
    def __getattribute__(cls, name: str) -> Any:
        if name == "__qualname__":
            raise KeyError(name)
        return super().__getattribute__(name)


class NamelessError(Exception, metaclass=NamelessType):
    pass


NoTextError = type("NoTextError", (Exception,), {"__str__": lambda self: 3})


def raised(error: BaseException, depth: int = 0) -> BaseException:
    try:
        if depth:
            raised(error, depth - 1)
        raise error
    except BaseException as caught:
        return caught


def circle() -> BaseException:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def chain(length: int) -> BaseException:
    error: BaseException = ValueError(0)
    for i in range(length):
        outer = ValueError(i)
        outer.__context__ = error
        error = outer
    return error


def text_of(data: dict[str, Any]) -> tuple[str, str]:
    message = data["message"]
    return message["message"], message["extraInfo"]["py_callstack"]


ERRORS: list[tuple[BaseException, str]] = [
    (ValueError("x"), "ValueError: x"),
    (ValueError(), "ValueError: "),
    (KeyError("k"), "KeyError: 'k'"),
    (KeyboardInterrupt(), "KeyboardInterrupt: "),
    (BadStrError(), "BadStrError: <exception str() failed>"),
    (NoTextError(), "NoTextError: <exception str() failed>"),
    (NamelessError("n"), "NamelessError: n"),
    (ValueError("\udce4 \0 \n é"), "ValueError: \\udce4 \0 \n é"),
    (circle(), "ValueError: first"),
    (chain(3000), "ValueError: 2999"),
]


@pytest.mark.parametrize(("error", "message"), ERRORS, ids=[m[:20] for _, m in ERRORS])
def test_describe(error: BaseException, message: str, path: str) -> None:
    data = errorfile.describe(raised(error))
    assert text_of(data)[0] == message
    errorfile.write(path, data)
    record = read_error_file(path)
    assert record is not None
    assert (record.problem, record.data) == (None, data)
    assert record.traceback is not None


def test_the_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("LOCAL_RANK", "1")
    before = time.time_ns(), time.monotonic_ns()
    extra = errorfile.describe(raised(ValueError("no")))["message"]["extraInfo"]
    after = time.time_ns(), time.monotonic_ns()
    assert before[0] <= extra["timestamp_ns"] <= after[0]
    assert before[1] <= extra["monotonic_ns"] <= after[1]
    assert extra["timestamp"] == str(extra["timestamp_ns"] // 10**9)
    assert (extra["rank"], extra["local_rank"]) == (5, 1)
    assert "restart_count" not in extra
    assert (extra["pid"], extra["hostname"]) == (os.getpid(), os.uname().nodename)
    assert extra["exception_type"] == "ValueError"
    assert extra["py_callstack"].startswith("Traceback (most recent call last):\n")
    assert extra["py_callstack"].endswith("ValueError: no\n")


@pytest.mark.parametrize("value", ["", "x", "-1", "1.0", "9" * 5000, " 1"])
def test_a_rank_that_is_none(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("RANK", value)
    assert "rank" not in errorfile.describe(ValueError())["message"]["extraInfo"]


def test_the_module_is_part_of_the_type() -> None:
    extra = errorfile.describe(json.JSONDecodeError("m", "d", 0))["message"]["extraInfo"]
    assert extra["exception_type"] == "json.decoder.JSONDecodeError"


def test_a_traceback_that_is_given_is_taken() -> None:
    data = errorfile.describe(ValueError("x"), traceback_text="from afar\n")
    assert text_of(data) == ("ValueError: x", "from afar\n")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="of Python 3.11")
def test_groups_and_notes() -> None:
    error = eval("ExceptionGroup('two', [ValueError(1), TypeError(2)])")
    error.add_note("a note")
    _, callstack = text_of(errorfile.describe(raised(error)))
    for part in ("two (2 sub-exceptions)", "ValueError: 1", "TypeError: 2", "a note"):
        assert part in callstack


@pytest.mark.parametrize("unit", ["a", "é", "\0", "\U0001f600", "\udce4"])
def test_a_huge_message_keeps_its_ends_and_fits_the_reader(unit: str, path: str) -> None:
    error = ValueError("begin" + unit * 3_000_000 + "end")
    data = errorfile.describe(raised(error))
    message, callstack = text_of(data)
    assert message.startswith("ValueError: begin")
    assert message.endswith("end")
    assert callstack.startswith("Traceback")
    assert callstack.endswith("end\n")
    assert "bytes left out ...]" in message
    assert "bytes left out ...]" in callstack
    errorfile.write(path, data)
    record = read_error_file(path)
    assert record is not None
    assert record.problem is None


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_is_json_of_valid_text(text: str) -> None:
    data = errorfile.describe(ValueError(text))
    restored = json.loads(json.dumps(data))
    assert restored == data
    assert text_of(data)[0].encode() == f"ValueError: {text}".encode("utf-8", "backslashreplace")


def test_write_replaces_as_a_whole(path: str) -> None:
    errorfile.write(path, {"message": "a" * 1000})
    with open(path) as reader:
        errorfile.write(path, {"message": "b"})
        assert json.load(reader) == {"message": "a" * 1000}
    assert json.loads(Path(path).read_text()) == {"message": "b"}
    assert os.listdir(os.path.dirname(path)) == ["error.json"]


def test_write_follows_a_link_and_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    errorfile.write(str(tmp_path / "link"), {"message": "x"})
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "target").read_text()) == {"message": "x"}


def test_write_heeds_the_umask(path: str) -> None:
    before = os.umask(0o077)
    try:
        errorfile.write(path, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_write_leaves_a_device_a_device() -> None:
    master, slave = os.openpty()  # nobody can replace one of these, not even root by mistake
    try:
        errorfile.write(os.ttyname(slave), {"message": "x"})
        assert os.read(master, 100) == b'{"message": "x"}'
    finally:
        os.close(master)
        os.close(slave)


def test_write_to_a_pipe_goes_to_its_reader(path: str) -> None:
    os.mkfifo(path)
    with pytest.raises(OSError, match="No such device"):  # nobody reads, and nobody waits
        errorfile.write(path, {})
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        errorfile.write(path, {"message": "x"})
        assert os.read(reader, 100) == b'{"message": "x"}'
    finally:
        os.close(reader)


def test_write_raises_where_it_cannot(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        errorfile.write(str(tmp_path / "gone" / "error.json"), {})
    with pytest.raises(IsADirectoryError):
        errorfile.write(str(tmp_path), {})
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        errorfile.write(str(tmp_path / "file" / "error.json"), {})


def test_a_full_disk_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    program = """
import os, resource, sys
from procession._worker import errorfile
errorfile.write(sys.argv[1], {"message": "old"})
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    errorfile.write(sys.argv[1], {"message": "n" * 10_000})
except OSError as error:
    print(error.strerror, sorted(os.listdir()), open(sys.argv[1]).read())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "error.json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(errorfile.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == 'File too large [\'error.json\'] {"message": "old"}\n'


def test_two_threads_may_write_at_once(path: str) -> None:
    def write() -> None:
        for i in range(50):
            errorfile.write(path, {"message": str(i) * 2000})

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if os.path.exists(path):
            json.loads(Path(path).read_text())
    assert os.listdir(os.path.dirname(path)) == ["error.json"]


@pytest.fixture
def recorded(path: str) -> Callable[..., Any]:
    def record(before: str | None, age: float = 0) -> Any:
        if before is not None:
            Path(path).write_text(before)
            os.utime(path, (time.time() - age,) * 2)
        errorfile.record(ValueError("ours"), path)
        return json.loads(Path(path).read_text())["message"]

    return record


def test_record_writes_ours(recorded: Callable[..., Any]) -> None:
    assert recorded(None)["message"] == "ValueError: ours"


@pytest.mark.parametrize(
    "torn", ["", "{", '{"message": {"mess', "[1]", '{"x": 1}', '{"message": 3}']
)
def test_record_replaces_what_is_no_record(recorded: Callable[..., Any], torn: str) -> None:
    assert recorded(torn)["message"] == "ValueError: ours"


def test_record_keeps_the_message_of_a_handler(recorded: Callable[..., Any]) -> None:
    theirs = {"message": {"message": "theirs", "more": 1, "extraInfo": {"timestamp": "5"}}}
    message = recorded(json.dumps(theirs))
    assert (message["message"], message["more"]) == ("theirs", 1)
    extra = message["extraInfo"]
    assert (extra["timestamp"], extra["exception_type"]) == ("5", "ValueError")
    assert extra["py_callstack"] == "ValueError: ours\n"


@pytest.mark.parametrize("theirs", ['{"message": "text"}', '{"message": {"extraInfo": 3}}'])
def test_record_leaves_a_message_that_has_no_place_for_more(
    recorded: Callable[..., Any], theirs: str
) -> None:
    assert recorded(theirs) == json.loads(theirs)["message"]


def test_record_replaces_a_file_older_than_this_process(recorded: Callable[..., Any]) -> None:
    theirs = {"message": {"message": "theirs"}}
    assert recorded(json.dumps(theirs), age=10**6)["message"] == "ValueError: ours"


def test_record_goes_where_the_environment_says(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", path)
    errorfile.record(ValueError("x"))
    assert text_of(json.loads(Path(path).read_text()))[0] == "ValueError: x"


def test_record_is_silent_without_a_path(capfd: pytest.CaptureFixture[str]) -> None:
    errorfile.record(ValueError("x"))
    errorfile.record(ValueError("x"), "")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("bad", ["gone/error.json", "", "\0", "x" * 300])
def test_record_never_raises(bad: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    errorfile.record(ValueError("x"), f"{tmp_path}/{bad}")
    told = capsys.readouterr().err
    assert told.startswith("procession: the exception could not be written to ")
    assert told.count("\n") == 1


def test_record_never_raises_without_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    errorfile.record(ValueError("x"), "/gone/error.json")


def test_it_loads_alone_and_light() -> None:
    program = (
        "import runpy, sys\n"
        "before = set(sys.modules)\n"
        f"runpy.run_path({errorfile.__file__!r})\n"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", "import runpy, pkgutil\n" + program],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "['__future__']\n"
