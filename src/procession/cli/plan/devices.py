"""How many workers ``--nproc-per-node`` asks for; NVIDIA's devices are counted without torch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import procession
from procession.cli.words import suggestion
from procession.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_KINDS = ("cpu", "gpu", "xpu", "auto")
_ALLOWED = f"give a number from 1 up, or one of {', '.join(_KINDS)}"
_MOST = 2**22  # processes that Linux can number: PID_MAX_LIMIT, include/linux/threads.h
_NO_TORCH = 3  # exit status of _torch.py where torch cannot be imported
_NO_SUCH_KIND = 4  # where torch knows no device of that name


def count_workers(text: str, environ: Mapping[str, str]) -> int:
    """Read ``--nproc-per-node``.

    Args:
        text: A number, or a kind of device of which each is to have a worker.
        environ: The environment, for CUDA_VISIBLE_DEVICES, and PYTHON_EXEC where torch is asked.

    Returns:
        A number from 1 up.

    Raises:
        UsageError: It is neither, or there is no such device.
    """
    number = _number(text)
    if number is None:
        number = _count(text, environ)
        if number < 1:
            raise UsageError(f"--nproc-per-node {text}: {_none_found(text, environ)}")
    if number < 1:
        raise UsageError(f"--nproc-per-node {text}: {_ALLOWED}.")
    if number > _MOST:
        raise UsageError(f"--nproc-per-node {text}: no host can have more than {_MOST} processes.")
    return number


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _count(kind: str, environ: Mapping[str, str]) -> int:
    if kind == "cpu":
        return cpu_count()
    if not kind.isidentifier():
        raise _unknown(kind)
    gpus = _nvidia_count(environ) if kind in {"gpu", "auto"} else None
    number = _ask_torch(kind, environ) if gpus is None else gpus
    return cpu_count() if kind == "auto" and number == 0 else number


def _nvidia_count(environ: Mapping[str, str]) -> int | None:
    """The GPUs that CUDA will show to workers; None where there is no driver of NVIDIA's."""
    from procession.cli.plan.nvidia import count_visible, find_gpus

    gpus = find_gpus(environ)
    return None if gpus is None else count_visible(gpus, environ.get("CUDA_VISIBLE_DEVICES"))


def cpu_count() -> int:
    """The CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _ask_torch(kind: str, environ: Mapping[str, str]) -> int:
    """Have the workers' Python count with torch, in a process of its own: it stays out of here."""
    import subprocess

    from procession.cli.plan.command import worker_python

    program = os.path.join(os.path.dirname(os.path.abspath(procession.__file__)), "_torch.py")
    asked = subprocess.run(
        [worker_python(environ), program, kind], stdout=subprocess.PIPE, text=True, check=False
    )
    if asked.returncode == _NO_SUCH_KIND or (asked.returncode == _NO_TORCH and kind not in _KINDS):
        raise _unknown(kind)
    return int(asked.stdout) if asked.returncode == 0 else 0


def _unknown(kind: str) -> UsageError:
    return UsageError(f"--nproc-per-node {kind}: {_ALLOWED}.{suggestion(kind, _KINDS)}")


def _none_found(kind: str, environ: Mapping[str, str]) -> str:
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if kind == "gpu" and visible is not None:
        return f"CUDA_VISIBLE_DEVICES={visible!r} leaves no GPU. Unset it, or give a number."
    return f"no {kind} was found on this host. Give a number, or cpu."
