"""A wall clock that nobody sets: what several hosts compare."""

from __future__ import annotations

import time


class SteadyClock:
    """The wall clock of the moment in which this was made, carried on by CLOCK_MONOTONIC.

    Attributes:
        base: What is added to CLOCK_MONOTONIC, ns.
    """

    def __init__(self) -> None:
        self.base = time.time_ns() - time.monotonic_ns()

    def __call__(self) -> int:
        """Nanoseconds since the epoch."""
        return self.base + time.monotonic_ns()
