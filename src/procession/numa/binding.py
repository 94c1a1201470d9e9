"""The wish to bind workers to CPUs; named as ``torch.numa.binding``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["AffinityMode", "NumaOptions"]


class AffinityMode(str, Enum):
    """Which CPUs the worker of local rank *n*, and so every thread of it, may run on.

    Each mode starts from GPU *n* of the host and the NUMA node that GPU is attached to.
    """

    NODE = "node"
    """All CPUs of the NUMA node. The one to begin with."""

    SOCKET = "socket"
    """All CPUs of every NUMA node on the same socket; as NODE where a socket is one node."""

    EXCLUSIVE = "exclusive"
    """A share of the node's physical cores that no other worker has: they are divided evenly
    among the node's GPUs."""

    CORE_COMPLEX = "core-complex"
    """One group of the node's cores that share a last-level cache, and while there are enough of
    them no other worker's."""


@dataclass(frozen=True)
class NumaOptions:
    """How workers are to be bound.

    Attributes:
        affinity_mode: Which CPUs a worker gets.
        should_fall_back_if_binding_fails: Start the worker unbound where binding fails, rather
            than fail the start.
    """

    affinity_mode: AffinityMode
    should_fall_back_if_binding_fails: bool = False
