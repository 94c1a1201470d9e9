"""The static kind over torch's TCPStore, in a process of its own: the store's threads end with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch

SCRIPT = Path(__file__).parent / "scripts" / "static_meeting.py"


def test_two_hosts_meet() -> None:
    argv = [sys.executable, str(SCRIPT)]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=50, check=False)
    assert ended.stdout.splitlines() == ["[(0, 2), (1, 2)] b'value'", "True"], ended.stderr
