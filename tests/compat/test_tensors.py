"""Tensors into functions and out of them, and loaders inside, by every start method."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from procession.multiprocessing import DefaultLogsSpecs, RunProcsResult, Std, start_processes

torch: Any = pytest.importorskip("torch")
torch.set_num_threads(1)  # no thread of its own in this process

sys.path.insert(0, str(Path(__file__).parent / "scripts"))

import tensors  # noqa: E402

METHODS = ["spawn", "fork", "forkserver"]
PATIENCE = 200  # seconds: a spawned worker imports torch, beside others that do

pytestmark = [pytest.mark.torch, pytest.mark.timeout(PATIENCE + 20)]


def launch(tmp: Path, method: str, fn: Any, *args: Any) -> RunProcsResult:
    logs = DefaultLogsSpecs(str(tmp), redirects=Std.ALL)
    gang = start_processes("w", fn, {0: args}, {0: {}}, logs, start_method=method)
    try:
        result = gang.wait(PATIENCE)
    finally:
        gang.close()
    assert result is not None
    return result


def run(tmp: Path, method: str, fn: Any, *args: Any) -> Any:
    return launch(tmp, method, fn, *args).return_values[0]


@pytest.mark.parametrize("method", METHODS)
def test_an_argument_is_shared(tmp_path: Path, method: str) -> None:
    tensor = torch.zeros(3).share_memory_()
    assert run(tmp_path, method, tensors.add_one, tensor) == 3
    assert tensor.tolist() == [1, 1, 1]


@pytest.mark.parametrize("method", METHODS)
def test_a_result_is_ours(tmp_path: Path, method: str) -> None:
    got, expected = run(tmp_path, method, tensors.all_kinds), tensors.all_kinds()
    state, other = got.pop("state"), expected.pop("state")
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in other.items()}
    for kind, tensor in expected.items():
        if not isinstance(tensor, torch.Tensor):
            assert got[kind] == tensor
            continue
        assert type(got[kind]) is type(tensor)
        assert (got[kind].dtype, got[kind].requires_grad) == (tensor.dtype, tensor.requires_grad)
        assert got[kind].layout == tensor.layout
        assert torch.equal(got[kind].to_dense(), tensor.to_dense())
    got["plain"] += 1
    assert got["transposed"].stride() == expected["transposed"].stride()


@pytest.mark.parametrize("method", METHODS)
def test_a_model_comes_back_and_works(tmp_path: Path, method: str) -> None:
    model = run(tmp_path, method, tensors.model)
    data = torch.ones(2, 64)
    assert torch.equal(model(data), tensors.model()(data))
    model(data).sum().backward()


def test_the_launcher_holds_one_copy(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(tensors.__file__).parent)!r})\n"
        "import resource, tensors\n"
        "from procession.multiprocessing import DefaultLogsSpecs, start_processes\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10\n"
        "def large(size):\n"
        "    specs = DefaultLogsSpecs(sys.argv[1])\n"
        "    return start_processes('w', tensors.large, {0: (size,)}, {0: {}}, specs, start_method='fork').wait()\n"
        "if __name__ == '__main__':\n"
        "    large(1 << 20); before = peak()\n"
        "    tensor = large(256 << 20).return_values[0]\n"
        "    print(peak() - before, int(tensor.sum()) >> 20)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "logs")],
        check=True, stdout=subprocess.PIPE, text=True, timeout=PATIENCE,
    )  # fmt: skip
    growth, total = map(int, done.stdout.split())
    assert total == 256
    assert growth < 280  # MiB


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("inner", ["fork", "forkserver"])
def test_loaders_inside_a_worker(tmp_path: Path, method: str, inner: str) -> None:
    assert run(tmp_path, method, tensors.loaded, inner) == list(range(8))


def test_an_exception_of_torchs_own(tmp_path: Path) -> None:
    failure = launch(tmp_path, "fork", tensors.raise_out_of_memory).failures[0]
    assert type(failure.exception) is torch.OutOfMemoryError
    assert str(failure.exception).startswith("CUDA out of memory")
