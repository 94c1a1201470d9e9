"""How the hosts of a run come together: who takes part, with which rank, and where workers meet.

A handler does that for one host. A kind of handler is registered by its name::

    from procession.rendezvous import rendezvous_handler_registry

    rendezvous_handler_registry.register("my_backend", create_my_handler)

or found as an entry point of the group ``torchrun.handlers``, which names a function that returns
such a creator. The names are those of ``torch.distributed.elastic.rendezvous``.
"""

from __future__ import annotations

from procession.rendezvous.api import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousError,
    RendezvousGracefulExitError,
    RendezvousHandler,
    RendezvousHandlerCreator,
    RendezvousHandlerRegistry,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStateError,
    RendezvousStoreInfo,
    RendezvousTimeoutError,
    rendezvous_handler_registry,
)

__all__ = [
    "RendezvousClosedError",
    "RendezvousConnectionError",
    "RendezvousError",
    "RendezvousGracefulExitError",
    "RendezvousHandler",
    "RendezvousHandlerCreator",
    "RendezvousHandlerRegistry",
    "RendezvousInfo",
    "RendezvousParameters",
    "RendezvousStateError",
    "RendezvousStoreInfo",
    "RendezvousTimeoutError",
    "rendezvous_handler_registry",
]
