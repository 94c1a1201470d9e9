"""A real client: DistributedDataParallel over four ranks, the same script under both launchers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import procession

SOURCE = Path(procession.__file__).parents[1]  # installed or not
EXAMPLE = Path(__file__).parents[2] / "examples" / "ddp_digits.py"
LEAVE = Path(__file__).parent / "scripts" / "leave.py"


def command(launcher: str) -> list[str]:
    """The launcher's command; torch's own may abort at its end too."""
    leaves = [str(LEAVE)] if launcher.startswith("torch") else []
    return [sys.executable, *leaves, "-m", launcher]


def final_loss(launcher: str, cwd: Path) -> str:
    """What rank 0 prints in the end, with all its digits."""
    run = subprocess.run(
        [*command(launcher), "--nproc-per-node=4", str(LEAVE), str(EXAMPLE)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    losses = re.findall(r"final loss: (\S+)$", run.stdout, re.MULTILINE)
    assert len(losses) == 1, run.stdout
    return str(losses[0])


@pytest.mark.torch
@pytest.mark.timeout(280)
@pytest.mark.xdist_group("ddp")
def test_the_final_loss_is_the_same(tmp_path: Path) -> None:
    ours = final_loss("procession.run", tmp_path)
    assert float(ours) < 0.5
    assert ours == final_loss("torch.distributed.run", tmp_path)
