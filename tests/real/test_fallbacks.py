"""A part of the suite on machines that lack something; ``make stress`` runs all of it."""

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
@pytest.mark.timeout(3600)
def test_the_suite_passes(name: str, home: Path) -> None:
    words = ("-n", "2", "tests/unit", "tests/real", "--ignore", __file__)
    ended = suite(CONDITIONS[name], home, *words)
    assert ended.returncode == 0, ended.stdout + ended.stderr
