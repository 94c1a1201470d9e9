"""What every test must leave as it found it: no process, no fd, no thread."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fail a test after which a child process, an fd or a thread of its own is still there."""
    before = _inventory()
    yield
    after = _inventory()
    left = {kind: after[kind] - before[kind] for kind in after}
    assert not any(left.values()), f"left behind: { {k: v for k, v in left.items() if v} }"


def _inventory() -> dict[str, set[str]]:
    return {
        "processes": {_describe(pid) for pid in _children()} - {""},
        "fds": {f"{fd} -> {target}" for fd, target in _fds()},
        "threads": {f"{t.name} {t.ident}" for t in threading.enumerate()},
    }


def _children() -> list[int]:
    found = []
    for tid in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{tid}/children") as file:
            found += [int(pid) for pid in file.read().split()]
    return found


def _describe(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        words = "(gone)"
    # The resource tracker of multiprocessing outlives its first use by design.
    return "" if "resource_tracker" in words else f"{pid} {words}"


def _fds() -> list[tuple[int, str]]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        # The tracker's pipe stays with it; pytest's own capture files come and go by phase.
        if not target.startswith(("pipe:", "/tmp/#", "/dev/", "/proc/")):
            found.append((int(name), target))
    return found
