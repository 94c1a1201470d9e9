"""Telling of an event: one logger a destination, which `logging` keeps."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from typing import TYPE_CHECKING

from procession.events.api import NodeState, RdzvEvent
from procession.events.handlers import get_logging_handler

if TYPE_CHECKING:
    from procession.events.api import Event

__all__ = ["construct_and_record_rdzv_event", "record", "record_rdzv_event"]

_RENDEZVOUS = "dynamic_rendezvous"


def record(event: Event, destination: str = "null") -> None:
    """Hand an event to its destination.

    Args:
        event: The event.
        destination: ``null``, ``console`` or ``jsonl:PATH``.

    Raises:
        KeyError: There is no such destination.
    """
    logger = _logger(destination)
    if _anybody_listens(logger):
        logger.info("%s", event.serialize())


def record_rdzv_event(event: RdzvEvent) -> None:
    """Hand an event to whoever has put a handler on the logger of ``dynamic_rendezvous``."""
    logger = _logger(_RENDEZVOUS)
    if _anybody_listens(logger):
        logger.info("%s", event.serialize())


def construct_and_record_rdzv_event(
    run_id: str,
    message: str,
    node_state: NodeState,
    name: str = "",
    hostname: str = "",
    pid: int | None = None,
    master_endpoint: str = "",
    local_id: int | None = None,
    rank: int | None = None,
) -> None:
    """Make an event of a rendezvous and hand it on, unless nobody listens.

    Args:
        run_id: The run id of the rendezvous.
        message: What happened, for a person.
        node_state: Where the node stands; with FAILED the current exception's traceback is added.
        name: What was being done; the calling function's name where empty.
        hostname: The node's host name; this host's where empty.
        pid: The process that takes part for the node; this process where None.
        master_endpoint: ``HOST:PORT`` of the store, if it is known.
        local_id: Which of the process's nodes it is.
        rank: The node's rank, if it is known.
    """
    if not _anybody_listens(_logger(_RENDEZVOUS)):
        return
    code = sys._getframe(1).f_code
    record_rdzv_event(
        RdzvEvent(
            name=f"{os.path.basename(code.co_filename)}:{name or code.co_name}",
            run_id=run_id,
            message=message,
            hostname=hostname or os.uname().nodename,
            pid=pid or os.getpid(),
            node_state=node_state,
            master_endpoint=master_endpoint,
            rank=rank,
            local_id=local_id,
            error_trace=traceback.format_exc() if node_state is NodeState.FAILED else "",
        )
    )


def _logger(destination: str) -> logging.Logger:
    """The logger of a destination; torch's name, under which programs add handlers of their own."""
    logger = logging.getLogger(f"torchelastic-events-{destination}")
    if not logger.handlers:
        logger.addHandler(get_logging_handler(destination))
        logger.setLevel(os.environ.get("LOGLEVEL", "INFO"))
        logger.propagate = False  # an event is told once
    return logger


def _anybody_listens(logger: logging.Logger) -> bool:
    return not all(isinstance(handler, logging.NullHandler) for handler in logger.handlers)
