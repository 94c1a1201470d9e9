"""torch's module of this name: the contexts, the logs, the results."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from procession.multiprocessing.context import PContext
from procession.multiprocessing.errors import ProcessFailure
from procession.multiprocessing.fork_server import ForkServer
from procession.multiprocessing.logs_dest import LogsDest
from procession.multiprocessing.logs_specs import DefaultLogsSpecs, LogsSpecs
from procession.multiprocessing.multiprocess_context import MultiprocessContext
from procession.multiprocessing.results import RunProcsResult
from procession.multiprocessing.std import Std, to_map
from procession.multiprocessing.subprocess_context import SubprocessContext
from procession.multiprocessing.supervision import SignalException, Supervision

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

__all__ = [
    "DefaultLogsSpecs",
    "ForkServer",
    "LogsDest",
    "LogsSpecs",
    "MultiprocessContext",
    "PContext",
    "ProcessFailure",
    "RunProcsResult",
    "SignalException",
    "Std",
    "SubprocessContext",
    "Supervision",
    "get_std_cm",
    "to_map",
]


def get_std_cm(
    std_rd: str, redirect_fn: Callable[[str], AbstractContextManager[None]]
) -> AbstractContextManager[None]:
    """Return ``redirect_fn(std_rd)``, or a context that does nothing where ``std_rd`` is empty."""
    return redirect_fn(std_rd) if std_rd else nullcontext()
