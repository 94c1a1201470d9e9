"""Events of a run under torchrun and under the command: who reads the one can read the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import procession

pytestmark = pytest.mark.torch

LEAVE = Path(__file__).parent / "scripts" / "leave.py"
SCRIPT = "import os, sys, time\ntime.sleep(30 * (os.environ['RANK'] == '0'))\nsys.exit(3)\n"
OPTIONS = ("--standalone", "--nproc-per-node", "2", "--event-log-handler", "console", "s.py")


def events(launcher: str, cwd: Path) -> list[dict[str, Any]]:
    """What is told on the console of a run whose rank 1 fails."""
    (cwd / "s.py").write_text(SCRIPT)
    leaves = [str(LEAVE)] if launcher.startswith("torch") else []
    source = str(Path(procession.__file__).parents[1])  # installed or not
    ended = subprocess.run(
        [sys.executable, *leaves, "-m", launcher, *OPTIONS],
        cwd=cwd,
        env={**os.environ, "LOGLEVEL": "INFO", "PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert ended.returncode in {1, 3}
    lines = [line for line in ended.stderr.splitlines() if line.startswith('{"name"')]
    return [json.loads(line) for line in lines]


def by_kind(told: list[dict[str, Any]]) -> dict[tuple[str, str], set[str]]:
    """The keys of each kind of event, those within the text of ``metadata`` included."""
    return {
        (each["name"], each["source"]): {
            *each,
            *each["metadata"],
            *json.loads(each["metadata"]["metadata"]),
        }
        for each in told
    }


def test_torchs_keys_are_there(tmp_path: Path) -> None:
    theirs, ours = (
        by_kind(events(launcher, tmp_path))
        for launcher in ("torch.distributed.run", "procession.run")
    )
    start, failed = (
        ("torchelastic.worker.status." + each, "WORKER") for each in ("START", "FAILED")
    )
    for kind in (start, failed):
        assert theirs[kind] <= ours[kind]


READ = """
import json, sys
from torch.distributed.elastic.events import Event
for line in sys.stdin:
    assert json.loads(Event.deserialize(line).serialize()) == json.loads(line)
    print("read")
"""


def test_torch_reads_ours(tmp_path: Path) -> None:
    told = [json.dumps(each) for each in events("procession.run", tmp_path)]
    argv = [sys.executable, "-c", READ]  # a process of its own: torch starts threads
    ended = subprocess.run(
        argv, input="\n".join(told), capture_output=True, text=True, timeout=55, check=False
    )
    assert ended.stdout.split() == ["read"] * len(told), ended.stderr
