"""What "at once" is on this machine, now: the contract's second, or more where others have the processors."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable

from procession.testing import wait_gone

AT_ONCE = 1.0  # seconds: the contract for everything to be gone, grace aside
_STARTS = 100  # of a process that ends at once, in the time that a sweep may take: 0.2 s where nothing else runs


def at_once() -> float:
    """Seconds that everything may take to be gone: measured, by what a process's start and end take."""
    times = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run(["true"], check=True)
        times.append(time.monotonic() - began)
    return max(AT_ONCE, _STARTS * max(times))


def left_at_once(pids: Iterable[int], grace: float = 0.0) -> list[int]:
    """Those of ``pids`` that live after a grace and a second; on a busy machine, after what is one there."""
    left = wait_gone(pids, AT_ONCE + grace)
    return wait_gone(left, at_once()) if left else left
