"""The kinds of rendezvous that torch names, as far as there are such."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procession.rendezvous.alone import Alone
from procession.rendezvous.utils import parse_rendezvous_endpoint

if TYPE_CHECKING:
    from procession.rendezvous.api import RendezvousHandler, RendezvousParameters

__all__ = ["create_alone", "create_at_etcd", "create_c10d", "create_static"]


def create_c10d(params: RendezvousParameters) -> RendezvousHandler:
    """Make a handler of the kind ``c10d``: at torch's TCPStore, which one host alone does not need.

    Raises:
        UsageError: Something is wrong. (A ``ValueError``.)
        RendezvousConnectionError: The store cannot be reached or started, or there is no torch.
    """
    if params.max_nodes == 1:
        return create_alone(params)
    from procession.rendezvous.c10d_rendezvous_backend import create_backend
    from procession.rendezvous.dynamic_rendezvous import create_handler

    backend, store = create_backend(params)
    return create_handler(store, backend, params)


def create_at_etcd(params: RendezvousParameters) -> RendezvousHandler:
    """Make a handler of the kinds ``etcd`` and ``etcd-v2``: at etcd (v3), which one host does not need.

    Raises:
        UsageError: Something is missing or wrong. (A ``ValueError``.)
        RendezvousConnectionError: etcd cannot be reached.
    """
    if params.max_nodes == 1:
        return create_alone(params)
    from procession.rendezvous.dynamic_rendezvous import create_handler
    from procession.rendezvous.etcd_rendezvous_backend import create_backend

    backend, store = create_backend(params)
    return create_handler(store, backend, params, local_addr=backend.address())


def create_alone(params: RendezvousParameters) -> RendezvousHandler:
    """Make a handler of whatever kind, of one host."""
    return Alone(params.backend, params.run_id, params.local_addr or "127.0.0.1")


def create_static(params: RendezvousParameters) -> RendezvousHandler:
    """Make a handler of the kind ``static``; one host alone needs neither a rank nor torch.

    Raises:
        UsageError: Something is missing or wrong. (A ``ValueError``.)
    """
    if params.max_nodes > 1:
        from procession.rendezvous.static_tcp_rendezvous import create_rdzv_handler

        return create_rdzv_handler(params)
    host, port = parse_rendezvous_endpoint(params.endpoint, 0)
    return Alone("static", params.run_id, host, port or None)
