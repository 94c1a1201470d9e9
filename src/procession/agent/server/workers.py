"""What an agent looks after, and what comes of it."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from procession.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from procession.multiprocessing.errors import ProcessFailure
    from procession.numa.binding import NumaOptions
    from procession.rendezvous import RendezvousHandler

__all__ = ["RunResult", "Worker", "WorkerGroup", "WorkerSpec", "WorkerState"]


@dataclass
class WorkerSpec:
    """What the workers of a host are to be.

    Args:
        role: Their name.
        local_world_size: How many the host has.
        rdzv_handler: Has the host meet the others.
        fn: Deprecated by torch for ``entrypoint``.
        entrypoint: A function, or a program.
        args: What it is given.
        max_restarts: How often they may be started again after a failure.
        monitor_interval: Seconds between two looks for hosts that wait to join; a death is seen at
            once.
        master_port: MASTER_PORT, where the rendezvous is not to say.
        master_addr: MASTER_ADDR, likewise.
        local_addr: Address of this host.
        event_log_handler: Where events go, see ``procession.events``.
        numa_options: Binding to CPUs.
        duplicate_stdout_filters: Teed stdout lines with one of these strings are copied.
        duplicate_stderr_filters: The same for stderr.
        virtual_local_rank: LOCAL_RANK is 0 everywhere, and each worker sees its own GPU alone.

    Raises:
        UsageError: A number or the entry point cannot be. (A ``ValueError``.)
    """

    role: str
    local_world_size: int
    rdzv_handler: RendezvousHandler
    fn: Callable[..., Any] | None = None
    entrypoint: Callable[..., Any] | str | None = None
    args: tuple[Any, ...] = ()
    max_restarts: int = 3
    monitor_interval: float = 0.1
    master_port: int | None = None
    master_addr: str | None = None
    local_addr: str | None = None
    event_log_handler: str = "null"
    numa_options: NumaOptions | None = None
    duplicate_stdout_filters: list[str] | None = None
    duplicate_stderr_filters: list[str] | None = None
    virtual_local_rank: bool = False

    def __post_init__(self) -> None:
        if self.local_world_size <= 0:
            raise UsageError(f"local_world_size is {self.local_world_size}: give 1 or more")
        if self.monitor_interval <= 0:
            raise UsageError(f"monitor_interval is {self.monitor_interval}: give more than 0")
        if self.fn:
            problem = "WorkerSpec.fn is deprecated, use WorkerSpec.entrypoint instead"
            warnings.warn(problem, DeprecationWarning, stacklevel=3)
            self.entrypoint = self.fn
        if not self.entrypoint:
            raise UsageError("a WorkerSpec needs an entrypoint: a function or a program")

    def get_entrypoint_name(self) -> str:
        """The function's qualified name, or the program's file name."""
        if isinstance(self.entrypoint, str):
            return os.path.basename(self.entrypoint)
        return str(getattr(self.entrypoint, "__qualname__", self.entrypoint))


class Worker:
    """One worker's place in the gang.

    Args:
        local_rank: Among the workers of its host.
        global_rank: Among all; -1 before hosts have met, as the rest.
        role_rank: Among all of its role.
        world_size: How many there are in all.
        role_world_size: How many of its role.
    """

    __slots__ = ["global_rank", "id", "local_rank", "role_rank", "role_world_size", "world_size"]

    def __init__(
        self,
        local_rank: int,
        global_rank: int = -1,
        role_rank: int = -1,
        world_size: int = -1,
        role_world_size: int = -1,
    ) -> None:
        self.id: Any = None  # its pid, once it runs
        self.local_rank = local_rank
        self.global_rank = global_rank
        self.role_rank = role_rank
        self.world_size = world_size
        self.role_world_size = role_world_size

    def __repr__(self) -> str:
        names = ("local_rank", "global_rank", "role_rank", "world_size", "role_world_size")
        return ",".join(f"{name}={getattr(self, name)}" for name in names)


class WorkerState(str, Enum):
    """Where the workers of a host stand, all together."""

    UNKNOWN = "UNKNOWN"  # an agent that cannot tell
    INIT = "INIT"  # not started
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"  # they run, but not well
    STOPPED = "STOPPED"  # by the agent, to be started again
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    @staticmethod
    def is_running(state: WorkerState) -> bool:
        """Whether workers live in this state, well or not."""
        return state in {WorkerState.HEALTHY, WorkerState.UNHEALTHY}


class WorkerGroup:
    """The workers of a host.

    Args:
        spec: What they are to be.
    """

    __slots__ = [
        "group_rank",
        "group_world_size",
        "master_addr",
        "master_port",
        "spec",
        "state",
        "store",
        "workers",
    ]

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec = spec
        self.workers = [Worker(local_rank=rank) for rank in range(spec.local_world_size)]
        # Known once the host has met the others.
        self.store: Any = None
        self.group_rank: int | None = None
        self.group_world_size: int | None = None
        self.master_addr: str | None = None
        self.master_port: int | None = None
        self.state = WorkerState.INIT


@dataclass
class RunResult:
    """What came of the workers of a host, each field by global rank.

    Attributes:
        state: Of all together.
        return_values: What functions returned, where all ended well.
        failures: The workers that failed by themselves.
        stopped: Those that were ended because of that; never a cause.
    """

    state: WorkerState
    return_values: dict[int, Any] = field(default_factory=dict)
    failures: dict[int, ProcessFailure] = field(default_factory=dict)
    stopped: dict[int, ProcessFailure] = field(default_factory=dict)

    def is_failed(self) -> bool:
        """Whether the workers failed."""
        return self.state == WorkerState.FAILED
