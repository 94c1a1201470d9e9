"""Real binaries under a handler: session, files, signals, and every way to fail."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from procession.multiprocessing.subprocess_handler import (
    SubprocessHandler,
    get_subprocess_handler,
)
from procession.testing import wait_gone

Start = Callable[..., SubprocessHandler]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a shell line under a handler; ends it and its group afterwards."""
    handlers: list[SubprocessHandler] = []

    def start_line(line: str, *args: Any, **kwargs: Any) -> SubprocessHandler:
        wanted: dict[str, Any] = {"env": {}, "stdout": "", "stderr": "", "local_rank_id": 0}
        handler = get_subprocess_handler("sh", ("-c", line, "sh", *args), **wanted | kwargs)
        handlers.append(handler)
        return handler

    yield start_line
    for handler in handlers:
        handler.close(signal.SIGKILL)
        handler.proc.wait(30)


def open_files() -> set[str]:
    links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    return {os.readlink(link) for link in links if os.path.lexists(link)}


def await_fifo(path: Path) -> str:
    """Wait until somebody writes a line to the fifo ``path``."""
    with open(path) as fifo:
        return fifo.readline().strip()


def test_arguments_environment_and_files_reach_the_process(start: Start, tmp_path: Path) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    handler = start(
        'echo "$1 $2 $WHO $HOME"; echo complaint >&2',
        1,
        [2],
        env={"WHO": "me", "HOME": "/nowhere"},
        stdout=str(out),
        stderr=str(err),
        local_rank_id=3,
    )
    assert handler.proc.wait(30) == 0
    assert out.read_text() == "1 [2] me /nowhere\n"
    assert err.read_text() == "complaint\n"
    assert handler.local_rank_id == 3
    assert isinstance(handler.proc, subprocess.Popen)


def test_the_process_leads_a_session_of_its_own(start: Start) -> None:
    pid = start("sleep 100").proc.pid
    assert os.getsid(pid) == os.getpgid(pid) == pid


def test_a_file_is_emptied_once_and_then_only_grows(start: Start, tmp_path: Path) -> None:
    both = tmp_path / "both"
    both.write_text("of an earlier run, and longer than what follows\n")
    handler = start("echo one; echo two >&2; echo three", stdout=str(both), stderr=str(both))
    assert handler.proc.wait(30) == 0
    assert both.read_text() == "one\ntwo\nthree\n"


@pytest.mark.parametrize("death_sig", [None, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_close_sends_the_signal_to_the_whole_group(
    start: Start, tmp_path: Path, death_sig: signal.Signals | None
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    handler = start("sleep 100 & echo $! >$FIFO; wait", env={"FIFO": str(fifo)})
    member = int(await_fifo(fifo))
    handler.close(death_sig)
    assert handler.proc.wait(30) == -(death_sig or signal.SIGTERM)
    assert wait_gone([member]) == []


def test_close_reaches_the_group_of_a_leader_that_has_ended(start: Start, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    handler = start("sleep 100 & echo $! >$FIFO", env={"FIFO": str(fifo)})
    member = int(await_fifo(fifo))
    assert handler.proc.wait(30) == 0
    handler.close()
    assert wait_gone([member]) == []


def test_close_of_a_dead_group_closes_the_files_and_may_be_repeated(
    start: Start, tmp_path: Path
) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    handler = start("true", stdout=str(out), stderr=str(err))
    assert handler.proc.wait(30) == 0
    assert {str(out), str(err)} <= open_files()
    handler.close()
    handler.close(signal.SIGKILL)
    assert not {str(out), str(err)} & open_files()


def test_close_leaves_a_stranger_alone_that_got_the_number_of_a_dead_leader(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, stranger = start("true"), start("sleep 100")
    assert handler.proc.wait(30) == 0
    monkeypatch.setattr(handler.proc, "pid", stranger.proc.pid)
    handler.close(signal.SIGKILL)
    with pytest.raises(subprocess.TimeoutExpired):
        stranger.proc.wait(0.1)


@pytest.mark.parametrize(
    ("binary", "expected"),
    [("/nowhere/at-all", FileNotFoundError), ("/etc/passwd", PermissionError)],
)
def test_a_binary_that_cannot_start_leaves_no_file_open(
    tmp_path: Path, binary: str, expected: type[OSError]
) -> None:
    out = str(tmp_path / "out")
    with pytest.raises(expected):
        get_subprocess_handler(binary, (), {}, out, "", 0)
    assert out not in open_files()


def test_a_second_log_that_cannot_be_opened_closes_the_first(tmp_path: Path) -> None:
    out, err = str(tmp_path / "out"), str(tmp_path / "missing" / "err")
    with pytest.raises(FileNotFoundError):
        get_subprocess_handler("true", (), {}, out, err, 0)
    assert out not in open_files()


def test_a_subclass_supplies_the_process(tmp_path: Path) -> None:
    started = []

    class Handle:
        pid = 2**22 + 1  # above every number the kernel gives

        def poll(self) -> int | None:
            return None

        def wait(self, timeout: float | None = None) -> int:
            raise NotImplementedError

    class Guarded(SubprocessHandler):
        def _popen(self, args: tuple[str, ...], env: dict[str, str]) -> Handle:
            started.append((args, env["WHO"], self._stdout is not None))
            return Handle()

    handler = Guarded("prog", (1,), {"WHO": "me"}, str(tmp_path / "out"), None, 7, None)
    assert started == [(("prog", "1"), "me", True)]
    assert isinstance(handler.proc, Handle)
    handler.close()
