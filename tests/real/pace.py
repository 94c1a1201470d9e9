"""Sharing a machine: what "at once" is there now, and ports that no other test takes."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable

from procession._os.ports import free_port
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


def own_ports(count: int) -> list[int]:
    """Free ports, no two the same, and none that a test beside this one (pytest -n) is given.

    A port that has been found free is anybody's until somebody listens at it.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    mine = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    promised = {port for port in range(65536) if port % workers != mine % workers}
    found: list[int] = []
    for _ in range(count):
        found.append(free_port({*promised, *found}))
    return found
