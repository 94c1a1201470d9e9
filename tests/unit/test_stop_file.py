"""Who takes the stop file at its word, and which signals make it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from procession._loop.machine import ECHO
from procession.cli.run.stopping import left_as_asked
from procession.multiprocessing.errors import ProcessFailure
from procession.multiprocessing.stop_file import StopFile


def failed(exitcode: int, error_file: str = "<N/A>") -> dict[int, ProcessFailure]:
    return {3: ProcessFailure(0, 7, exitcode, error_file, timestamp_ns=1)}


@pytest.mark.parametrize(
    ("exitcode", "leaves"),
    [(75, True), (85, True), (128, True), (2, True), (1, False), (137, False), (-9, False)],
)
def test_a_status_of_its_own_choice(exitcode: int, leaves: bool) -> None:
    assert left_as_asked(failed(exitcode)) == leaves


def test_what_raised_did_not_leave(tmp_path: Path) -> None:
    (tmp_path / "error.json").write_text('{"message": "boom"}')
    assert not left_as_asked(failed(75, str(tmp_path / "error.json")))


def test_nobody_failed() -> None:
    assert not left_as_asked({})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("procession.multiprocessing.stop_file.time.monotonic", lambda: now[0])
    return now


def test_the_first_signal_and_its_echo_ask_and_the_next_does_not(
    tmp_path: Path, clock: list[float]
) -> None:
    file = StopFile(str(tmp_path / "stop"), ["SIGTERM"])
    assert not file.hear(signal.SIGUSR1)
    assert not file.exists()
    assert file.hear(signal.SIGTERM)
    assert file.exists()
    clock[0] += ECHO
    assert file.hear(signal.SIGTERM)
    clock[0] += 0.1
    assert not file.hear(signal.SIGTERM)


def test_a_wish_that_is_there_already_leaves_the_first_signal_its_meaning(tmp_path: Path) -> None:
    file = StopFile(str(tmp_path / "stop"), ["SIGTERM"])
    file.touch()
    assert file.hear(signal.SIGTERM)


def test_a_file_that_cannot_be_made_is_said_and_asks_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = StopFile(str(tmp_path / "none" / "stop"), ["SIGUSR1"])
    assert file.hear(signal.SIGUSR1)
    assert "stop could not be made: No such file or directory" in caplog.text
    assert not file.exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "stop").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        StopFile(str(tmp_path / "stop")).touch()
    assert not (tmp_path / "elsewhere").exists()
