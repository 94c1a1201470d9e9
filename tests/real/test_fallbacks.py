"""A part of the suite on machines that lack something; ``make stress`` runs a wide part of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.real.conditions import CONDITIONS, suite

SAMPLE = (
    "tests/real/test_signals.py",
    "tests/real/test_tail_files.py",
    "tests/real/test_teardown.py",
    "-k",
    "sigkill or raised_out_of_wait or passed_on or truncated or replaced or killed",
)
WIDE = (
    "tests/real/test_binaries.py",
    "tests/real/test_functions.py",
    "tests/real/test_kill_matrix.py",
    "tests/real/test_signals.py",
    "tests/real/test_stop.py",
    "tests/real/test_tail_files.py",
    "tests/real/test_teardown.py",
    "tests/real/command/test_run_ends.py",
    "tests/real/command/test_run_signals.py",
)


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that others than its maker can come to."""
    with tempfile.TemporaryDirectory(prefix="procession-fallbacks-") as directory:
        yield Path(directory)


@pytest.fixture(params=CONDITIONS)
def name(request: pytest.FixtureRequest) -> str:
    if CONDITIONS[request.param].needs_root and os.geteuid() != 0:
        pytest.skip(f"{request.param}: only root can make it so: sudo make test")
    return str(request.param)


@pytest.mark.timeout(300)
def test_a_sample_passes(name: str, home: Path) -> None:
    ended = suite(CONDITIONS[name], home, *SAMPLE)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "17 passed" in ended.stdout


@pytest.mark.stress
@pytest.mark.timeout(900)
def test_a_wide_part_passes(name: str, home: Path) -> None:
    ended = suite(CONDITIONS[name], home, "-n", "2", *WIDE)
    assert ended.returncode == 0, ended.stdout + ended.stderr
