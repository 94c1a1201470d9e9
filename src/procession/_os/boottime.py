"""The clock of leases: it goes on while the host sleeps, and is the same for all of its processes."""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # clock_gettime(2)


def boottime_ns() -> int:
    """Nanoseconds since some moment before now."""
    return time.clock_gettime_ns(_CLOCK)
