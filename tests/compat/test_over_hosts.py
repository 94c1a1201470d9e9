"""Two hosts meet without etcd, the same command under both launchers: torch's gloo works, the same is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import procession
from procession._os.ports import free_port

pytestmark = [pytest.mark.torch, pytest.mark.timeout(280), pytest.mark.xdist_group("hosts")]

SOURCE = Path(procession.__file__).parents[1]  # installed or not
SCRIPTS = Path(__file__).parent / "scripts"
SCRIPT = SCRIPTS / "gloo_gang.py"


def c10d(_rank: int, port: int) -> tuple[str, ...]:
    """The same words on every host."""
    place = ("--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}")
    return (*place, "--rdzv-id=job", "--local-addr=127.0.0.1")


def static(rank: int, port: int) -> tuple[str, ...]:
    """torchrun's classic."""
    return f"--node-rank={rank}", "--master-addr=127.0.0.1", f"--master-port={port}"


def told(launcher: str, here: Path, words: tuple[tuple[str, ...], tuple[str, ...]]) -> list[str]:
    """What the workers of two hosts have told."""
    here.mkdir()
    environ = os.environ | {"PYTHONPATH": str(SOURCE), "TOLD": str(here / "told")}
    leaves = [str(SCRIPTS / "leave.py")] if launcher.startswith("torch") else []
    gang = ("--nnodes=2", "--nproc-per-node=2", "--rdzv-conf=lease=30")  # which torch leaves unread
    common = (sys.executable, *leaves, "-m", launcher, *gang)
    hosts = [
        subprocess.Popen(
            [*common, *own, str(SCRIPT)],
            cwd=here,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for own in words
    ]
    ends = [host.communicate(timeout=120)[1] for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], ends
    return sorted((here / "told").read_text().splitlines())


@pytest.mark.parametrize("place", [c10d, static])
def test_the_same_gang(place: object, tmp_path: Path) -> None:
    assert callable(place)
    found = {}
    for launcher in ("procession.run", "torch.distributed.run"):
        port = free_port()
        found[launcher] = told(launcher, tmp_path / launcher, (place(0, port), place(1, port)))
    ours, theirs = found.values()
    assert len(ours) == 4
    assert all("sum=10" in line for line in ours)
    assert ours == theirs
