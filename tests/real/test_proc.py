"""What /proc says of a process that changes while it is read."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from procession._os import proc

ROUNDS = 3000


@pytest.fixture
def becoming(tmp_path: Path) -> Path:
    """A program that becomes itself again and again."""
    script = tmp_path / "again"
    script.write_text('#!/bin/sh\nexec "$0"\n')
    script.chmod(0o755)
    return script


def test_an_environment_is_seen_while_a_program_becomes_another(becoming: Path) -> None:
    """In the midst of each execve(2) the kernel shows none: of one look in ten, here."""
    with subprocess.Popen([str(becoming)], env={"MARK": "found", "PATH": "/usr/bin:/bin"}) as again:
        try:
            seen = [proc.variable(again.pid, "MARK") for _ in range(ROUNDS)]
        finally:
            again.kill()
    assert set(seen) == {"found"}


@pytest.mark.parametrize("variables", [{}, {"OTHER": "1"}])
def test_one_that_was_not_given_it(variables: dict[str, str]) -> None:
    with subprocess.Popen(["/bin/sleep", "1000"], env=variables) as sleeper:
        try:
            assert proc.variable(sleeper.pid, "MARK") == ""
        finally:
            sleeper.kill()


def test_the_dead_have_none() -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""], env={"MARK": "found"})
    try:
        while (facts := proc.stat(dead.pid)) and facts.alive:
            time.sleep(0.001)
        assert proc.variable(dead.pid, "MARK") == ""
    finally:
        dead.wait()
    assert proc.variable(dead.pid, "MARK") == ""
