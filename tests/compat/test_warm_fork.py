"""numpy and torch in workers that are forked from a server which has imported them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.real.pace import own_ports

from procession.multiprocessing import (
    DefaultLogsSpecs,
    ForkServer,
    RunProcsResult,
    Std,
    Supervision,
    start_processes,
)

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "scripts"))

import forked

pytestmark = pytest.mark.torch

WORKERS = 2


def run(tmp: Path, fn: Any, env: dict[str, str], **wishes: Any) -> RunProcsResult:
    result = start_processes(
        name="w",
        entrypoint=fn,
        args=dict.fromkeys(range(WORKERS), ()),
        envs={rank: {"LOCAL_RANK": str(rank), **env} for rank in range(WORKERS)},
        logs_specs=DefaultLogsSpecs(str(tmp), redirects=Std.ALL),
        start_method="forkserver",
        supervision=Supervision(shutdown_timeout=5, **wishes),
    ).wait()
    assert result is not None
    assert result.failures == {}
    return result


@pytest.mark.parametrize(
    "modules", [("numpy",), ("torch",), ("numpy", "torch"), ("torch", "numpy")]
)
def test_a_matmul_in_a_forked_worker(tmp_path: Path, caplog: Any, modules: tuple[str, ...]) -> None:
    """numpy's import starts OpenBLAS's threads; a fork must neither lose them nor hang in them."""
    function = (
        forked.multiply_both if len(modules) == 2 else getattr(forked, f"multiply_{modules[0]}")
    )
    result = run(tmp_path, function, {}, preload=modules)
    assert result.return_values == dict.fromkeys(range(WORKERS), True)
    assert caplog.records == []


@pytest.mark.parametrize("count", [1, 2])
def test_the_number_of_threads_is_the_environments(tmp_path: Path, count: int) -> None:
    """Whether the libraries are imported in that environment, or in another and told afterwards."""
    env = {"OMP_NUM_THREADS": str(count)}
    at_import = run(tmp_path, forked.thread_counts, env, preload=("numpy", "torch"))
    with ForkServer(["numpy", "torch"], env={"OMP_NUM_THREADS": str(3 - count)}) as server:
        afterwards = run(tmp_path, forked.thread_counts, env, fork_server=server)
    for result in (at_import, afterwards):
        assert result.return_values == dict.fromkeys(range(WORKERS), (count, count))


def test_random_numbers_are_each_workers_own(tmp_path: Path) -> None:
    result = run(tmp_path, forked.draw, {}, preload=("numpy", "torch"))
    first, second = result.return_values.values()
    assert first["random"] != second["random"]
    assert first["numpy"] != second["numpy"]
    assert first["torch"] != second["torch"]


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_a_data_loader_with_workers_of_its_own(tmp_path: Path, context: str) -> None:
    result = run(tmp_path, forked.load, {"LOADER_CONTEXT": context}, preload=("torch.utils.data",))
    assert result.return_values == {rank: list(range(8)) for rank in range(WORKERS)}


def test_a_collective(tmp_path: Path) -> None:
    (port,) = own_ports(1)
    env = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(WORKERS)}
    result = run(tmp_path, forked.all_reduce, env, preload=("torch",))
    assert result.return_values == dict.fromkeys(range(WORKERS), 1.0)


def test_a_training_script(tmp_path: Path) -> None:
    """The same losses as from workers that import torch by themselves."""
    import subprocess

    script = os.path.join(os.path.dirname(__file__), "scripts", "train_tiny.py")
    command = [sys.executable, "-m", "procession", "run", "-n", "2", "--log-dir", str(tmp_path)]
    outs = [
        sorted(
            subprocess.run(
                [*command, *words, script], check=True, capture_output=True, text=True, timeout=100
            ).stdout.splitlines()
        )
        for words in ([], ["--preload", "torch,torch.distributed"])
    ]
    assert outs[0] == outs[1]
    assert len(outs[0]) == 6
