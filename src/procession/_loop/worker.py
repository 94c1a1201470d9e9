"""What is known of a gang's workers, and of what they left."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from procession._guardian.sweep import Left
    from procession._os.memory import Oom, Space


class Scene(NamedTuple):
    """What was there at a worker's death.

    Attributes:
        oom: What was counted of OOM kills.
        shared_memory: The space of /dev/shm, of a worker that died of SIGBUS.
        core: Where its core dump is, of one that dumped core.
    """

    oom: Oom | None = None
    shared_memory: Space | None = None
    core: str = ""


class Worker:
    """What is known of one worker; times are CLOCK_MONOTONIC in ns.

    Attributes:
        exitcode: None while it lives; -n for a death by signal n.
        death_order: Its place among the gang's deaths: within one stamp the guardian's order counts.
        signalled_ns: When our first signal to it was sent, 0 if none was.
        doomed: It was exiting before that signal could reach it.
        scene: What the host said of its death, if we did not order it.
    """

    def __init__(self, rank: int, pid: int, started_ns: int, error_file: str) -> None:
        self.rank = rank
        self.pid = pid
        self.started_ns = started_ns
        self.error_file = error_file
        self.exitcode: int | None = None
        self.core_dumped = False
        self.died_ns = 0
        self.death_order = 0
        self.signalled_ns = 0
        self.doomed = False
        self.scene = Scene()

    def died_of_us(self, signum: int, *, killed: bool) -> bool:
        """Whether a signal of ours explains its death: the stop's, or SIGKILL once there was one."""
        if not 0 < self.signalled_ns < self.died_ns:
            return False
        return killed or self.exitcode == -signum


class Leftovers(NamedTuple):
    """What dead workers left behind.

    Attributes:
        hushed: What the stop's signal ended.
        killed: What SIGKILL ended.
        stuck: What could not die, workers among it.
    """

    hushed: Sequence[Left] = ()
    killed: Sequence[Left] = ()
    stuck: Sequence[Left] = ()
