"""``--nproc-per-node``: what was recorded of drivers, and CUDA's rules of visibility."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from procession.cli.plan.devices import count_workers, cpu_count
from procession.cli.plan.nvidia import Gpu, count_visible, find_gpus, parse_proc, parse_smi
from procession.errors import UsageError
from procession.run import determine_local_world_size

ALLOWED = "give a number from 1 up, or one of cpu, gpu, xpu, auto."

TWO_GPUS = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-5ba3d6a2-0c9b-4c56-84f0-0b9c6b8ff9d3)
"""
MIG = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-e86cb44c-6756-fd30-cd4a-1e6da3caf9b0)
  MIG 3g.20gb     Device  0: (UUID: MIG-c7384736-a75d-5afc-978f-d2f1294409fd)
  MIG 3g.20gb     Device  1: (UUID: MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-54cce06f-1e0f-49c3-a26c-4d5ec4b1ac4e)
"""
OLD_MIG = """\
GPU 0: A100-SXM4-40GB (UUID: GPU-e86cb44c-6756-fd30-cd4a-1e6da3caf9b0)
  MIG 1g.5gb Device 0: (UUID: MIG-GPU-e86cb44c-6756-fd30-cd4a-1e6da3caf9b0/7/0)
"""
INFORMATION = """\
Model: \t\t NVIDIA A100-SXM4-40GB
IRQ:   \t\t 154
GPU UUID: \t GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77
Video BIOS: \t 92.00.45.00.03
Bus Type: \t PCIe
Device Minor: \t 0
GPU Excluded:\t No
"""
A, B, C = (Gpu(f"GPU-{name}0000") for name in "abc")
CUT = Gpu("GPU-d0000", ("MIG-1", "MIG-2"))


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        ("", []),
        ("No devices found.\n", []),
        (
            TWO_GPUS,
            [
                Gpu("GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77"),
                Gpu("GPU-5ba3d6a2-0c9b-4c56-84f0-0b9c6b8ff9d3"),
            ],
        ),
        (
            MIG,
            [
                Gpu(
                    "GPU-e86cb44c-6756-fd30-cd4a-1e6da3caf9b0",
                    (
                        "MIG-c7384736-a75d-5afc-978f-d2f1294409fd",
                        "MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d",
                    ),
                ),
                Gpu("GPU-54cce06f-1e0f-49c3-a26c-4d5ec4b1ac4e"),
            ],
        ),
        (
            OLD_MIG,
            [
                Gpu(
                    "GPU-e86cb44c-6756-fd30-cd4a-1e6da3caf9b0",
                    ("MIG-GPU-e86cb44c-6756-fd30-cd4a-1e6da3caf9b0/7/0",),
                )
            ],
        ),
    ],
)
def test_what_nvidia_smi_lists(listing: str, expected: list[Gpu]) -> None:
    assert parse_smi(listing) == expected


def test_what_the_driver_says_in_proc() -> None:
    assert parse_proc([INFORMATION, ""]) == [
        Gpu("GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77"),
        Gpu("unknown-1"),
    ]


@pytest.mark.parametrize(
    ("gpus", "visible", "expected"),
    [
        ([], None, 0),
        ([A, B, C], None, 3),
        ([A, B, C], "", 0),
        ([A, B, C], "0", 1),
        ([A, B, C], "2,0", 2),
        ([A, B, C], " 1 , 2 ", 2),
        ([A, B, C], "0,1,2,3", 3),
        ([A, B, C], "3,0", 0),
        ([A, B, C], "0,-1,1", 1),
        ([A, B, C], "-1", 0),
        ([A, B, C], "NoDevFiles", 0),
        ([A, B, C], "0,0", 0),
        ([A, B, C], "0,GPU-a", 0),
        ([A, B, C], "GPU-b0000,GPU-a0000", 2),
        ([A, B, C], "GPU-b,GPU-c,GPU-x,GPU-a", 2),
        ([A, B, C], "GPU-", 0),
        ([A, B, C], "a0000", 0),
        ([CUT], None, 1),
        ([CUT, CUT], None, 1),
        ([A, CUT], None, 1),
        ([A, B, CUT], None, 2),
        ([CUT], "MIG-1", 1),
        ([CUT], "MIG-1,MIG-2", 1),
        ([CUT], "MIG-3", 0),
        ([CUT], "MIG-", 0),
    ],
)
def test_what_cuda_shows(gpus: list[Gpu], visible: str | None, expected: int) -> None:
    assert count_visible(gpus, visible) == expected


@pytest.mark.parametrize("text", ["1", "3", " 4 ", "+2"])
def test_a_number(text: str) -> None:
    assert determine_local_world_size(text) == int(text)


@pytest.mark.parametrize("text", ["0", "-1", "-100"])
def test_too_few(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        determine_local_world_size(text)
    assert str(caught.value) == f"--nproc-per-node {text}: {ALLOWED}"


@pytest.mark.parametrize(
    ("text", "hint"),
    [("x", ""), ("", ""), ("1.5", ""), ("2x", ""), ("gpus", " Did you mean gpu?"), ("4,4", "")],
)
def test_neither_number_nor_device(text: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        count_workers(text, {"PYTHON_EXEC": program(tmp_path, "exit 3", "python")})
    assert str(caught.value) == f"--nproc-per-node {text}: {ALLOWED}{hint}"


def test_cpu() -> None:
    assert count_workers("cpu", {}) == cpu_count() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("kind", "visible", "expected"),
    [("gpu", None, 2), ("gpu", "1", 1), ("auto", None, 2), ("auto", "", cpu_count())],
)
def test_gpus_are_counted_without_torch(
    kind: str, visible: str | None, expected: int, tmp_path: Path
) -> None:
    environ = with_driver(tmp_path, f"cat <<END\n{TWO_GPUS}END")
    if visible is not None:
        environ["CUDA_VISIBLE_DEVICES"] = visible
    assert count_workers(kind, environ) == expected


def test_no_gpu_is_visible(tmp_path: Path) -> None:
    environ = with_driver(tmp_path, f"cat <<END\n{TWO_GPUS}END")
    with pytest.raises(UsageError) as caught:
        count_workers("gpu", {**environ, "CUDA_VISIBLE_DEVICES": ""})
    assert str(caught.value) == (
        "--nproc-per-node gpu: CUDA_VISIBLE_DEVICES='' leaves no GPU. Unset it, or give a number."
    )


@pytest.mark.parametrize(
    ("kind", "torch_says", "expected"),
    [
        ("gpu", "echo 4", 4),
        ("xpu", "echo 2", 2),
        ("auto", "echo 3", 3),
        ("auto", "echo 0", cpu_count()),
        ("auto", "exit 3", cpu_count()),
        ("npu", 'test "$2" = npu && echo 8', 8),
    ],
)
def test_torch_is_asked_where_there_is_no_driver(
    kind: str, torch_says: str, expected: int, tmp_path: Path
) -> None:
    if find_gpus({"PATH": ""}) is not None:
        pytest.skip("this host has an NVIDIA driver")
    python = program(tmp_path, torch_says, "python")
    assert count_workers(kind, {"PATH": "/usr/bin:/bin", "PYTHON_EXEC": python}) == expected


@pytest.mark.parametrize("kind", ["gpu", "xpu"])
@pytest.mark.parametrize("torch_says", ["echo 0", "exit 3", "exit 1"])
def test_there_is_no_such_device(kind: str, torch_says: str, tmp_path: Path) -> None:
    if find_gpus({"PATH": ""}) is not None:
        pytest.skip("this host has an NVIDIA driver")
    environ = {"PATH": "/usr/bin:/bin", "PYTHON_EXEC": program(tmp_path, torch_says, "python")}
    with pytest.raises(UsageError) as caught:
        count_workers(kind, environ)
    assert str(caught.value) == (
        f"--nproc-per-node {kind}: no {kind} was found on this host. Give a number, or cpu."
    )


def test_a_driver_that_does_not_answer(tmp_path: Path) -> None:
    listed = find_gpus(with_driver(tmp_path, "echo no driver; exit 9"))
    assert listed == find_gpus({"PATH": ""})  # as if nvidia-smi were not there


def test_torch_is_named_in_one_module_only() -> None:
    package = Path(str(determine_local_world_size.__globals__["__file__"])).parent
    source = (package / "_torch.py").read_text()
    assert re.findall(r"^from procession|^import procession", source, re.MULTILINE) == []


def with_driver(directory: Path, script: str) -> dict[str, str]:
    """An environment in which nvidia-smi is this shell script."""
    program(directory, script, "nvidia-smi")
    return {"PATH": f"{directory}:/usr/bin:/bin"}


def program(directory: Path, script: str, name: str) -> str:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)
