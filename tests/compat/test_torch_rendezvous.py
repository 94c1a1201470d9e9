"""Rendezvous over torch's TCPStore, in a process of its own: the store's threads end with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch

SCRIPTS = Path(__file__).parent / "scripts"


def said(script: str) -> list[str]:
    argv = [sys.executable, str(SCRIPTS / script)]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=55, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_two_hosts_meet_by_static() -> None:
    assert said("static_meeting.py") == ["[(0, 2), (1, 2)] b'value'", "True"]


def test_three_hosts_meet_by_c10d() -> None:
    assert said("c10d_meeting.py") == [
        "[(0, 3), (1, 3), (2, 3)] b'value'",
        "[(0, 3), (1, 3), (2, 3)] b'value'",
        "1",
        "[True, True, True]",
    ]
