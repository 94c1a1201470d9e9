"""What "at once" is on this machine, now: the contract's second, or more where others have the processors."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable

from procession.testing import bearers, wait_gone

AT_ONCE = 1.0  # seconds: the contract for everything to be gone, grace aside
_STARTS = 100  # of a process that ends at once, in the time that a sweep may take: 0.2 s where nothing else runs
_PAUSES = 10.0  # seconds: a busy machine may leave anybody alone for one, at any place, and more than once


def at_once() -> float:
    """Seconds that everything may take to be gone where it takes more than one: by what a process's start takes now.

    And no less than what some pauses take: who is late by a grace (30 s) or for ever is later than that.
    """
    times = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run(["true"], check=True)
        times.append(time.monotonic() - began)
    return max(_PAUSES, _STARTS * max(times))


def left_at_once(pids: Iterable[int], grace: float = 0.0) -> list[int]:
    """Those of ``pids`` that live after a grace and a second; on a busy machine, after what is one there."""
    left = wait_gone(pids, AT_ONCE + grace)
    return wait_gone(left, at_once()) if left else left


def left_of_run(run_id: str) -> list[int]:
    """Those of a run that live after as long: who is known by it, whether anybody has told of them or not."""
    deadline = time.monotonic() + AT_ONCE + at_once()
    while (left := bearers(run_id)) and time.monotonic() < deadline:
        wait_gone(left, deadline - time.monotonic())
    return left
