"""The kind ``static``: ranks and the place to meet are given; torch's TCPStore carries facts."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from procession.errors import UsageError
from procession.rendezvous.api import RendezvousHandler, RendezvousInfo, RendezvousStoreInfo
from procession.rendezvous.utils import parse_rendezvous_endpoint

if TYPE_CHECKING:
    from procession.rendezvous.api import RendezvousParameters

__all__ = ["StaticTCPRendezvous", "create_rdzv_handler"]

_DEFAULT_TIMEOUT = 600  # torch's, seconds


class StaticTCPRendezvous(RendezvousHandler):
    """A gang whose hosts all know their ranks.

    Args:
        master_addr: Address of the host of rank 0, where the store listens and workers meet.
        master_port: Port of both.
        rank: This host's rank.
        world_size: How many hosts there are.
        run_id: The run's id.
        timeout: Seconds to wait for the store.
    """

    def __init__(
        self,
        master_addr: str,
        master_port: int,
        rank: int,
        world_size: int,
        run_id: str,
        timeout: int,
    ) -> None:
        self.master_addr = master_addr
        self.master_port = master_port
        self.rank = rank
        self.world_size = world_size
        self.run_id = run_id
        self.timeout = timedelta(seconds=timeout)
        self._store: Any = None

    def get_backend(self) -> str:
        """Return ``static``."""
        return "static"

    @property
    def use_agent_store(self) -> bool:
        """True: rank 0's agent has the store listen at MASTER_ADDR and MASTER_PORT."""
        return True

    @property
    def nobody_can_join(self) -> bool:
        """True: all hosts are known."""
        return True

    def next_rendezvous(self) -> RendezvousInfo:
        """Connect to the store; the host of rank 0 starts it.

        Raises:
            RendezvousConnectionError: The store cannot be reached, or there is no torch.
        """
        from procession.rendezvous import torch_store

        if self._store is None:
            self._store = torch_store.tcp_store(
                self.master_addr,
                self.master_port,
                self.timeout.total_seconds(),
                is_master=self.rank == 0,
                world_size=self.world_size,
            )
        return RendezvousInfo(
            torch_store.prefix_store(self.run_id, self._store),
            self.rank,
            self.world_size,
            RendezvousStoreInfo(self.master_addr, self.master_port),
        )

    def is_closed(self) -> bool:
        """False: there is nobody to be told."""
        return False

    def set_closed(self) -> None:
        """Do nothing: there is nobody to be told."""

    def num_nodes_waiting(self) -> int:
        """Return 0: nobody can join."""
        return 0

    def get_run_id(self) -> str:
        """Return the run's id."""
        return self.run_id

    def shutdown(self) -> bool:
        """Do nothing: the store is there until this process ends, for workers of other hosts."""
        return True


def create_rdzv_handler(params: RendezvousParameters) -> RendezvousHandler:
    """Make a handler.

    Args:
        params: ``endpoint`` is ``HOST:PORT``; the setting ``rank`` is this host's rank, ``timeout``
            the seconds to wait for the store.

    Raises:
        UsageError: One of them is missing or wrong. (A ``ValueError``.)
    """
    rank = params.get_as_int("rank")
    if rank is None:
        raise UsageError("the static rendezvous needs this host's rank: give --node-rank")
    address, port = parse_rendezvous_endpoint(params.endpoint, -1)
    if not params.endpoint.strip() or port == -1:
        raise UsageError(
            f"the static rendezvous needs HOST:PORT, not {params.endpoint!r}: give --master-addr "
            "and --master-port"
        )
    timeout = params.get_as_int("timeout", _DEFAULT_TIMEOUT)
    return StaticTCPRendezvous(
        address, port, rank, params.max_nodes, params.run_id, timeout or _DEFAULT_TIMEOUT
    )
