"""Kinds of handlers that nobody has registered: ours, and those of entry points; imported on use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from procession._log import Logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from procession.rendezvous.api import RendezvousHandlerCreator

__all__ = ["find"]

_GROUP = "torchrun.handlers"

logger = Logger(__name__)


def find(backend: str, built_in: Mapping[str, str]) -> RendezvousHandlerCreator | None:
    """Find what makes handlers of a kind.

    Args:
        backend: Its name.
        built_in: Our own kinds, as ``module:function``; they win over entry points.

    Returns:
        The creator. None where there is none, or where the entry point cannot be loaded, which is
        logged.
    """
    if backend in built_in:
        module, _, function = built_in[backend].partition(":")
        return cast("RendezvousHandlerCreator", getattr(import_module(module), function))
    return _of_entry_point(backend)


def _of_entry_point(backend: str) -> RendezvousHandlerCreator | None:
    from importlib.metadata import entry_points

    for entry in entry_points(group=_GROUP, name=backend):
        try:
            return cast("RendezvousHandlerCreator", entry.load()())
        except Exception:
            logger.exception("the entry point %s of the group %s", entry.value, _GROUP)
    return None
