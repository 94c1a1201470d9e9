"""The NVIDIA devices of this host, and how many of them CUDA will show to a process.

The rules of CUDA_VISIBLE_DEVICES are those of the CUDA C++ Programming Guide ("CUDA Environment
Variables"); that a process sees one MIG device at most, of the MIG User Guide ("CUDA Device
Enumeration").
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SMI_GPU = re.compile(r"GPU \d+: .*\(UUID: (GPU-[^)]+)\)")
_SMI_MIG = re.compile(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)")
_PROC_UUID = re.compile(r"^GPU UUID:\s+(GPU-\S+)", re.MULTILINE)
_PROC = "/proc/driver/nvidia/gpus"
_SMI_PATIENCE = 60  # seconds; a driver that wakes eight GPUs without persistence mode takes many


class Gpu(NamedTuple):
    """A GPU, and the MIG devices it is cut into, by their UUIDs."""

    uuid: str
    mig: tuple[str, ...] = ()


def count_visible(gpus: Sequence[Gpu], visible: str | None) -> int:
    """How many devices CUDA shows. Pure.

    Args:
        gpus: Those of the host, in CUDA's order.
        visible: CUDA_VISIBLE_DEVICES: indices, or UUIDs that may be cut short; None if unset.

    Returns:
        The length of the list up to the first entry that names no device; 0 if one is named twice.
    """
    if visible is None:
        whole = sum(not gpu.mig for gpu in gpus)
        return whole or min(len(gpus), 1)
    found: list[str] = []
    for entry in visible.split(","):
        device = _device(gpus, entry.strip())
        if device is None:
            break
        found.append(device)
    if len(set(found)) < len(found):
        return 0
    return 1 if found and found[0].startswith("MIG-") else len(found)


def _device(gpus: Sequence[Gpu], entry: str) -> str | None:
    """The UUID of the one device that the entry names."""
    if entry.isascii() and entry.isdigit():
        return gpus[int(entry)].uuid if int(entry) < len(gpus) else None
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    known = [uuid for gpu in gpus for uuid in (gpu.uuid, *gpu.mig)]
    matching = [uuid for uuid in known if uuid.startswith(entry)]
    return matching[0] if len(matching) == 1 else None


def find_gpus(environ: Mapping[str, str]) -> list[Gpu] | None:
    """Ask the driver, by nvidia-smi or else /proc.

    Args:
        environ: The environment, for PATH.

    Returns:
        The GPUs; None where no NVIDIA driver is loaded.
    """
    listing = _nvidia_smi(environ)
    if listing is not None:
        return parse_smi(listing)
    if not os.path.isdir(_PROC):
        return None
    return parse_proc([_text(os.path.join(_PROC, gpu, "information")) for gpu in os.listdir(_PROC)])


def parse_smi(listing: str) -> list[Gpu]:
    """Read what ``nvidia-smi -L`` prints. Pure."""
    gpus: list[Gpu] = []
    for line in listing.splitlines():
        if gpu := _SMI_GPU.match(line):
            gpus.append(Gpu(gpu[1]))
        elif gpus and (mig := _SMI_MIG.match(line)):
            gpus[-1] = Gpu(gpus[-1].uuid, (*gpus[-1].mig, mig[1]))
    return gpus


def parse_proc(texts: Sequence[str]) -> list[Gpu]:
    """Read the ``information`` files of the driver, one a GPU. Pure."""
    uuids = [_PROC_UUID.search(text) for text in texts]
    return [Gpu(uuid[1] if uuid else f"unknown-{i}") for i, uuid in enumerate(uuids)]


def _nvidia_smi(environ: Mapping[str, str]) -> str | None:
    """What ``nvidia-smi -L`` prints; None where it is missing or the driver does not answer it."""
    import subprocess

    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"],
            env=dict(environ),
            capture_output=True,
            text=True,
            timeout=_SMI_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return listed.stdout if listed.returncode == 0 else None


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
