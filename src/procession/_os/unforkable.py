"""What a process holds that a fork does not copy, or that two processes cannot share.

fork(2) copies the calling thread alone; a socket is one socket in both processes; the driver of a
GPU refuses a context in a process that did not make it.
"""

from __future__ import annotations

import os
import sys

from procession._os.proc import children, stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_DEVICES = ("/dev/nvidia", "/dev/kfd", "/dev/dri/", "/dev/accel", "/dev/vfio")
_CUDA = "cuda"


def take_stock() -> dict[str, str]:
    """Return what this process holds of the kind: a key that stays the same, and words for people.

    A native thread counts, whoever started it: which of them a fork ends in good order is found by
    forking (``_guardian/preload.py``). Where there is no /proc, Python's own threads are all that
    is seen.
    """
    return {**dict(_threads()), **dict(_descriptors()), **dict(_children()), **dict(_cuda())}


def _threads() -> Iterator[tuple[str, str]]:
    names = _python_threads()
    for tid in _native_threads() or names:
        if tid != os.getpid():
            yield (
                f"thread {tid}",
                f"the thread {names[tid]!r}" if tid in names else "a native thread",
            )


def _python_threads() -> dict[int, str]:
    threading = sys.modules.get("threading")
    if threading is None:
        return {}
    running = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    return {thread.native_id: thread.name for thread in running}


def _native_threads() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc/self/task")]
    except OSError:
        return []


def _descriptors() -> Iterator[tuple[str, str]]:
    try:
        fds = os.listdir("/proc/self/fd")
    except OSError:
        return
    for fd in fds:
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:  # the fd that listed the directory
            continue
        if target.startswith("socket:"):
            yield target, "an open socket"
        elif target.startswith(_DEVICES):
            yield target, f"the open device {target}"


def _children() -> Iterator[tuple[str, str]]:
    for pid in children(os.getpid()):
        facts = stat(pid)
        if facts is not None and facts.alive:
            yield f"child {pid}", f"the child process {facts.name}"


def _cuda() -> Iterator[tuple[str, str]]:
    """Take torch's own word, which holds also where the driver's devices have other names."""
    if getattr(sys.modules.get("torch.cuda"), "_initialized", False):
        yield _CUDA, "an initialised CUDA context"
