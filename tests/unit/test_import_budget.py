"""What ``import procession.multiprocessing`` may load; its milliseconds belong to the benchmarks."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MODULES_AT_MOST = 170
TOO_HEAVY = {"torch", "rich", "asyncio", "psutil"}

# -S: what a site-packages of this machine loads at every start is not ours.
PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
__import__(sys.argv[2])
print(json.dumps(sorted(sys.modules)))
"""


def modules_after_import(name: str) -> set[str]:
    """All modules of a fresh interpreter once it has imported ``name``."""
    argv = [sys.executable, "-S", "-c", PROGRAM, json.dumps(sys.path), name]
    return set(json.loads(subprocess.run(argv, check=True, capture_output=True).stdout))


def test_the_library_is_light() -> None:
    loaded = modules_after_import("procession.multiprocessing")
    assert "procession.multiprocessing" in loaded
    assert loaded & TOO_HEAVY == set()
    assert len(loaded) <= MODULES_AT_MOST, sorted(loaded)


# What tells of failures, and what only some runs need: a run in which all is well imports none of it.
NOT_FOR_A_START = {
    "ctypes",
    "selectors",
    "procession._report.errorfile",
    "procession._report.evidence",
    "procession.multiprocessing.errors.error_handler",
    "procession.multiprocessing.errors.failure",
    "procession.multiprocessing.failures",
    "procession.multiprocessing.guarded",
    "procession.numa",
}


@pytest.mark.parametrize(
    "name",
    [
        "cli.run.execute",
        "multiprocessing.subprocess_context",
        "multiprocessing.tail_log",
        "_logs.books",
    ],
)
def test_what_a_run_imports_does_not_tell_of_failures(name: str) -> None:
    assert modules_after_import(f"procession.{name}") & NOT_FOR_A_START == set()


def test_names_that_are_imported_late_are_there_and_modules_too() -> None:
    program = (
        "from procession.multiprocessing import errors; "
        "print(errors.error_handler.ErrorHandler is errors.ErrorHandler, "
        "errors.handlers.get_error_handler is errors.get_error_handler, hasattr(errors, 'other'))"
    )
    argv = [sys.executable, "-c", program]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    assert said == "True True False\n"


def test_a_heavy_import_is_seen() -> None:
    loaded = modules_after_import("asyncio")
    assert "asyncio" in loaded & TOO_HEAVY
