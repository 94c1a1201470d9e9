"""Loggers that import logging when they have something to say."""

from __future__ import annotations

import subprocess
import sys

import pytest

from procession._log import Logger


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_it_speaks_as_the_logger_of_that_name(level: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "some.name")
    getattr(Logger("some.name"), level)("%s of %d", "one", 2)
    (record,) = caplog.records
    assert (record.name, record.levelname, record.message) == (
        "some.name",
        level.upper(),
        "one of 2",
    )
    assert record.funcName == "test_it_speaks_as_the_logger_of_that_name"


def test_an_exception_comes_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("boom")
    except ValueError:
        Logger("some.name").exception("it did not work")
    assert "ValueError: boom" in caplog.text


@pytest.mark.parametrize(
    ("call", "imported"), [("info", False), ("debug", False), ("warning", True)]
)
def test_details_that_nobody_asked_for_import_nothing(call: str, imported: bool) -> None:
    code = (
        "import sys; from procession._log import Logger; "
        f"Logger('x').{call}('y'); print('logging' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{imported}\n"
    assert done.stderr == ("y\n" if imported else "")


def test_it_speaks_where_no_descriptor_is_left_for_an_import() -> None:
    code = (
        "import resource; from procession._log import Logger; "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3)); "
        "Logger('x').warning('%d of %s', 1, 'y'); Logger('x').error('100%')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "1 of y\n100%\n"
