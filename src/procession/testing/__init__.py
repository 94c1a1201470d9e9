"""A kit to test launchers, supervisors and what runs under them: real processes, real faults.

- `children`: processes that misbehave, each in one way, and say when they are ready.
- `waiting`: `RollCall` and its kin wait for what processes do, by events, never by sleeping.
- `leaks`: what a piece of code has left in this process; ``pytest_plugin`` asks it after each test.
- `refusal`: the kernel refuses system calls (a seccomp filter), as old kernels and containers do; ``python -m
  procession.testing.deny`` runs a command so.

::

    from procession.testing import RollCall, children, wait_gone


    def test_nothing_survives_the_supervisor():
        with RollCall() as roll:
            supervisor = start_my_supervisor(children.command(children.daemonizes, tell=roll.path))
            (worker,) = roll.wait(1)
            supervisor.kill()
            assert wait_gone([worker.pid, *worker.others], timeout=1) == []
"""

from __future__ import annotations

from procession.testing import children
from procession.testing.leaks import Inventory
from procession.testing.refusal import deny
from procession.testing.waiting import (
    Ready,
    RollCall,
    bearers,
    describe,
    stop,
    wait_for_text,
    wait_gone,
)

__all__ = [
    "Inventory",
    "Ready",
    "RollCall",
    "bearers",
    "children",
    "deny",
    "describe",
    "stop",
    "wait_for_text",
    "wait_gone",
]
