"""torch's stores, where torch is installed."""

from __future__ import annotations

from typing import Any

from procession.errors import RendezvousConnectionError

__all__ = ["is_torchs", "prefix_store", "tcp_store"]


def is_torchs(store: Any) -> bool:
    """Whether a store is of torch's making; torch is not imported for that."""
    return type(store).__module__.startswith("torch")


def tcp_store(
    host: str, port: int, timeout: float, *, is_master: bool, world_size: int | None = None
) -> Any:
    """Connect to a ``torch.distributed.TCPStore``.

    Args:
        host: Where it listens.
        port: At which port; 0 with ``is_master`` picks one.
        timeout: Seconds to wait for it.
        is_master: Start it in this process.
        world_size: How many hosts will connect; the master waits for them. None waits for nobody.

    Raises:
        RendezvousConnectionError: It cannot be reached or started, or there is no torch.
    """
    from procession import _torch

    try:
        return _torch.tcp_store(host, port, timeout, is_master=is_master, world_size=world_size)
    except ImportError as error:
        raise RendezvousConnectionError(
            "hosts cannot meet at a TCPStore, which is torch's: torch is not installed here"
        ) from error
    except (ValueError, RuntimeError, TimeoutError) as error:
        deed = "listen" if is_master else "be reached"
        raise RendezvousConnectionError(
            f"the store cannot {deed} at {host}:{port}: {error}"
        ) from error


def prefix_store(prefix: str, store: Any) -> Any:
    """A view of a store in which all keys begin with a prefix; torch's of a store of torch's."""
    if not is_torchs(store):
        from procession.rendezvous.alone import PrefixStore

        return PrefixStore(prefix, store)
    from procession import _torch

    return _torch.prefix_store(prefix, store)
