"""ErrorHandler: torch's methods, on whole files and on torn ones."""

from __future__ import annotations

import faulthandler
import filecmp
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from procession.multiprocessing.errors.error_handler import ErrorHandler
from procession.multiprocessing.errors.handlers import get_error_handler

LOGGER = "procession.multiprocessing.errors.error_handler"


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The error file of this process."""
    path = tmp_path / "mine.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(path))
    return path


@pytest.fixture
def child(tmp_path: Path) -> Path:
    """The error file of a child that failed."""
    path = tmp_path / "child.json"
    path.write_text(json.dumps({"message": {"message": "RuntimeError: x", "extraInfo": {}}}))
    return path


def content(path: Path) -> Any:
    return json.loads(path.read_text())


def test_the_one_that_record_takes() -> None:
    assert type(get_error_handler()) is ErrorHandler


def test_record_exception(mine: Path) -> None:
    try:
        raise ValueError("x")
    except ValueError as error:
        ErrorHandler().record_exception(error)
    message = content(mine)["message"]
    assert message["message"] == "ValueError: x"
    assert "test_errorfile_write_handler.py" in message["extraInfo"]["py_callstack"]
    assert message["extraInfo"]["timestamp"].isdecimal()
    assert message["extraInfo"]["monotonic_ns"] > 0


def test_record_exception_overwrites(mine: Path) -> None:
    handler = ErrorHandler()
    handler.record_exception(ValueError("first"))
    handler.record_exception(ValueError("second"))
    assert content(mine)["message"]["message"] == "ValueError: second"


def test_record_exception_logs_where_it_has_no_file(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE", raising=False)
    caplog.set_level(logging.INFO, LOGGER)
    ErrorHandler().record_exception(ValueError("x"))
    assert '"ValueError: x"' in caplog.text


def test_record_exception_warns_where_it_cannot_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", "/gone/error.json")
    with pytest.warns(
        UserWarning, match="Unable to write error to file. FileNotFoundError"
    ) as all_:
        ErrorHandler().record_exception(ValueError("x"))
    assert all_[0].filename == __file__


def test_a_subclass_says_where_the_file_is(tmp_path: Path) -> None:
    class Elsewhere(ErrorHandler):
        def _get_error_file_path(self) -> str | None:
            return str(tmp_path / "elsewhere.json")

    Elsewhere().record_exception(ValueError("x"))
    assert content(tmp_path / "elsewhere.json")["message"]["message"] == "ValueError: x"


def test_initialize_enables_faulthandler() -> None:
    was = faulthandler.is_enabled()
    faulthandler.disable()
    try:
        ErrorHandler().initialize()
        assert faulthandler.is_enabled()
    finally:
        (faulthandler.enable if was else faulthandler.disable)()


def test_initialize_warns_where_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("no stderr")

    monkeypatch.setattr(faulthandler, "enable", fail)
    with pytest.warns(UserWarning, match="Unable to enable fault handler. RuntimeError: no stderr"):
        ErrorHandler().initialize()


def test_dump_copies(mine: Path, child: Path) -> None:
    ErrorHandler().dump_error_file(str(child))
    assert filecmp.cmp(mine, child, shallow=False)


def test_dump_puts_the_exit_code_in(mine: Path, child: Path) -> None:
    ErrorHandler().dump_error_file(str(child), -11)
    assert content(mine)["message"]["errorCode"] == -11
    assert "errorCode" not in content(child)["message"]


@pytest.mark.parametrize(
    ("data", "words"), [({}, "without a message"), ({"message": "text"}, "without an object")]
)
def test_a_message_without_a_place_for_the_code_stays(
    data: dict[str, Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = dict(data)
    ErrorHandler().override_error_code_in_rootcause_data("child.json", data, 3)
    assert data == before
    assert words in caplog.text


def test_dump_overwrites_and_logs_what_was_there(
    mine: Path, child: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine.write_text('{"message": "older"}')
    ErrorHandler().dump_error_file(str(child))
    assert content(mine) == content(child)
    assert "already exists" in caplog.text
    assert "older" in caplog.text


def test_dump_over_a_torn_file(mine: Path, child: Path, caplog: pytest.LogCaptureFixture) -> None:
    mine.write_text('{"messa')
    ErrorHandler().dump_error_file(str(child))
    assert content(mine) == content(child)
    assert "(torn)" in caplog.text


def test_dump_of_itself(mine: Path) -> None:
    mine.write_text('{"message": {"message": "x"}}')
    ErrorHandler().dump_error_file(str(mine), 3)
    assert content(mine) == {"message": {"message": "x", "errorCode": 3}}


@pytest.mark.parametrize("torn", ["", '{"message": {"mess', "[1, 2]"])
def test_dump_of_a_file_that_cannot_be_used_says_so(mine: Path, child: Path, torn: str) -> None:
    child.write_text(torn)
    ErrorHandler().dump_error_file(str(child), 9)
    message = content(mine)["message"]
    assert message["message"].startswith(f"child error file ({child}) is ")
    assert message["errorCode"] == 9


def test_dump_without_a_file_of_its_own_is_logged(
    child: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE", raising=False)
    ErrorHandler().dump_error_file(str(child))
    assert "no error file defined for parent" in caplog.text


def test_dump_of_no_file(mine: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ErrorHandler().dump_error_file(str(tmp_path / "none.json"))
    assert not os.path.exists(mine)
