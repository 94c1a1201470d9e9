"""Which ranks the workers of each host have: the host of rank 0 says it to all, over the store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from procession.rendezvous.store import waited

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["HostRole", "Ranks", "agree", "arrive", "assign", "have_all_arrived"]

_INFO = "torchelastic/role_info/"
_RANKS = "torchelastic/assigned_ranks/"
_DONE = "torchelastic/agent/terminal_state/"


class HostRole(NamedTuple):
    """What a host has: the role of its workers, and how many they are."""

    role: str
    workers: int


class Ranks(NamedTuple):
    """The ranks of one host's first worker, and how many workers there are."""

    first: int
    world_size: int
    first_of_role: int
    role_world_size: int


def assign(hosts: Sequence[HostRole]) -> list[Ranks]:
    """Number the workers of all hosts, host by host. Pure."""
    world_size = sum(host.workers for host in hosts)
    of_role: dict[str, int] = {}
    for host in hosts:
        of_role[host.role] = of_role.get(host.role, 0) + host.workers
    first, next_of_role, ranks = 0, dict.fromkeys(of_role, 0), []
    for host in hosts:
        ranks.append(Ranks(first, world_size, next_of_role[host.role], of_role[host.role]))
        first += host.workers
        next_of_role[host.role] += host.workers
    return ranks


def agree(store: Any, rank: int, size: int, own: HostRole) -> Ranks:
    """Tell the other hosts what this one has, and learn its ranks.

    Args:
        store: What the agents share; ``get`` waits for a key.
        rank: This host's rank.
        size: How many hosts there are.
        own: What this host has.
    """
    told = {"role": own.role, "rank": rank, "local_world_size": own.workers}
    store.set(f"{_INFO}{rank}", json.dumps(told).encode())
    if rank == 0:
        infos = [json.loads(store.get(f"{_INFO}{host}")) for host in range(size)]
        hosts = [HostRole(info["role"], info["local_world_size"]) for info in infos]
        for host, ranks in enumerate(assign(hosts)):
            store.set(f"{_RANKS}{host}", json.dumps(ranks).encode())
    return Ranks(*json.loads(store.get(f"{_RANKS}{rank}")))


def arrive(store: Any, size: int) -> None:
    """Say that the workers of this host are done; the last of the hosts says that all are."""
    if store.add(f"{_DONE}count", 1) == size:
        store.set(f"{_DONE}all", b"1")


def have_all_arrived(store: Any, seconds: float) -> bool:
    """Wait until all hosts have said so, for so many seconds at most.

    Raises:
        Exception: What the store raises, whatever it is, where it was not the time that was over.
    """
    return waited(store, [f"{_DONE}all"], seconds)
