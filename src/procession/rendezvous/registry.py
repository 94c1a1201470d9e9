"""Getting a handler by the name of its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procession.rendezvous.api import rendezvous_handler_registry

if TYPE_CHECKING:
    from procession.rendezvous.api import RendezvousHandler, RendezvousParameters

__all__ = ["get_rendezvous_handler"]


def get_rendezvous_handler(params: RendezvousParameters) -> RendezvousHandler:
    """Make a handler of the kind that ``params.backend`` names.

    Args:
        params: What it is made of.

    Raises:
        UsageError: There is no such kind, or the parameters do not do. (A ``ValueError``.)
        RuntimeError: The handler says that it is of another kind.
    """
    return rendezvous_handler_registry.create_handler(params)
