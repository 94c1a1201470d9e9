"""The environment that torchrun gives a worker on one host. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from procession.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from procession._membership.model import Round


class Gang(NamedTuple):
    """What all workers have in common.

    Attributes:
        workers: How many there are on this host, which is all there are.
        role: Their name.
        master_addr: The address at which they meet.
        max_restarts: How often they may be started again.
        signals_to_handle: ``--signals-to-handle`` as it was given.
        virtual_local_rank: Each sees its own GPU alone, as device 0.
    """

    workers: int
    role: str
    master_addr: str
    max_restarts: int
    signals_to_handle: str
    virtual_local_rank: bool


def rank_environment(gang: Gang, rank: int, environ: Mapping[str, str]) -> dict[str, str]:
    """What the environment of one worker has beyond the launcher's, but for what attempts add.

    Args:
        gang: What all workers have in common.
        rank: The local rank, which on one host is the rank.
        environ: The launcher's own environment.

    Returns:
        torchrun's variables.

    Raises:
        UsageError: ``--virtual-local-rank`` and there are fewer visible GPUs than workers.
    """
    size = str(gang.workers)
    return {
        "RANK": str(rank),
        "LOCAL_RANK": "0" if gang.virtual_local_rank else str(rank),
        "ROLE_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": size,
        "LOCAL_WORLD_SIZE": size,
        "ROLE_WORLD_SIZE": size,
        "GROUP_WORLD_SIZE": "1",
        "ROLE_NAME": gang.role,
        "MASTER_ADDR": gang.master_addr,
        "TORCHELASTIC_MAX_RESTARTS": str(gang.max_restarts),
        "TORCHELASTIC_USE_AGENT_STORE": "False",
        "TORCHELASTIC_SIGNALS_TO_HANDLE": gang.signals_to_handle,
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": environ.get("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1"),
        **_threads(gang, environ),
        **_device(gang, rank, environ),
    }


OF_ALL_HOSTS = (
    "RANK",
    "ROLE_RANK",
    "GROUP_RANK",
    "WORLD_SIZE",
    "ROLE_WORLD_SIZE",
    "GROUP_WORLD_SIZE",
    "MASTER_ADDR",
)


def seat_environments(now: Round, rank: int, master_addr: str) -> dict[int, dict[str, str]]:
    """What the environment of each worker of a host says of all hosts.

    Args:
        now: The gang.
        rank: The host's rank in it.
        master_addr: The address at which workers meet.

    Returns:
        By local rank, torchrun's variables; they stand in place of those of a host alone.
    """
    first = sum(seat.workers for seat in now.seats[:rank])
    world = str(sum(seat.workers for seat in now.seats))
    common = {
        "GROUP_RANK": str(rank),
        "WORLD_SIZE": world,
        "ROLE_WORLD_SIZE": world,
        "GROUP_WORLD_SIZE": str(len(now.seats)),
        "MASTER_ADDR": master_addr,
    }
    return {
        local: {**common, "RANK": str(first + local), "ROLE_RANK": str(first + local)}
        for local in range(now.seats[rank].workers)
    }


def _threads(gang: Gang, environ: Mapping[str, str]) -> dict[str, str]:
    """One OpenMP thread a worker where there are several, so that they do not fight for cores."""
    return {"OMP_NUM_THREADS": "1"} if gang.workers > 1 and "OMP_NUM_THREADS" not in environ else {}


def _device(gang: Gang, rank: int, environ: Mapping[str, str]) -> dict[str, str]:
    if not gang.virtual_local_rank:
        return {}
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return {"CUDA_VISIBLE_DEVICES": str(rank)}
    devices = visible.split(",")
    if rank >= len(devices):
        raise UsageError(
            f"--virtual-local-rank: {gang.workers} workers, but CUDA_VISIBLE_DEVICES={visible} "
            f"names {len(devices)}. Give --nproc-per-node {len(devices)} or fewer."
        )
    return {"CUDA_VISIBLE_DEVICES": devices[rank].strip()}
