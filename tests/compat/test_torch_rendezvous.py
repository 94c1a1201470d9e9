"""Rendezvous over torch's TCPStore, in a process of its own: the store's threads end with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from procession._os.ports import free_port

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
        "1",
        "[(0, 3), (1, 3), (2, 3)] b'value'",
        "1",  # a store of its own for each round
        "{True}",
        "[True, True, True]",
    ]


@pytest.mark.timeout(150)
def test_workers_over_c10d_use_the_store_of_rank_0s_agent(tmp_path: Path) -> None:
    """Two hosts, a failure, and torch's gloo in both gangs."""
    endpoint = f"127.0.0.1:{free_port()}"
    hosts = [
        subprocess.Popen(
            [sys.executable, str(SCRIPTS / "c10d_gang.py"), endpoint, str(tmp_path / "failed")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    found = [json.loads(host.communicate(timeout=120)[0]) for host in hosts]
    told = {rank: value for host in found for rank, value in host.items()}
    assert {rank: value["sum"] for rank, value in told.items()} == {"0": 3, "1": 3}
    assert {value["shared"] for value in told.values()} == {"True"}
