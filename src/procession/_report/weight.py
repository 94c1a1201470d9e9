"""What a failure tells by itself of whether it is a cause, or comes of a peer that went first. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from procession._report.view import FailureView

PEER_LOST, OWN_ERROR, KILLED = 0, 1, 2  # as `_membership.model.Evidence`

# What a worker says whose peer is gone: Python's exceptions, torch's (torch/_C/_distributed_c10d.pyi),
# MPI's. A timeout counts: a collective that somebody has left waits until then.
_TYPES = {
    *("BrokenPipeError", "ConnectionAbortedError", "ConnectionError", "ConnectionRefusedError"),
    *("ConnectionResetError", "EOFError", "IncompleteReadError", "TimeoutError"),
    *("DistBackendError", "DistNetworkError", "DistStoreError"),
}
_WORDS = re.compile(
    "connection (was )?(reset|refused|closed|aborted)|broken pipe|socket closed|"
    "connection timed out|timed out waiting|collective operation timeout|remote process exited|"
    "connect(ion)? .{0,40}failed|no route to host|nccl error|ncclremoteerror|ncclsystemerror",
    re.IGNORECASE,
)
_SHELL = 128


def weight(failure: FailureView) -> int:
    """``KILLED``, ``OWN_ERROR`` or ``PEER_LOST``.

    Args:
        failure: The failure.
    """
    if misses_a_peer(failure.exception_type, failure.traceback, failure.last_lines):
        return PEER_LOST
    if failure.traceback or failure.hastened_by:
        return OWN_ERROR
    by_signal = failure.exitcode < 0 or _SHELL < failure.exitcode < _SHELL + 65
    return KILLED if by_signal else OWN_ERROR


def misses_a_peer(
    exception_type: str | None, traceback: str | None, last_lines: Sequence[str]
) -> bool:
    """Whether a failure only tells that a peer was lost.

    Args:
        exception_type: The exception's class, None where that is not told.
        traceback: Its text.
        last_lines: The last lines on stderr, looked at where there is no traceback.
    """
    said = _last_words(traceback, last_lines)
    return (exception_type or _type(said)) in _TYPES or _WORDS.search(said) is not None


def _type(said: str) -> str:
    """The exception's class, without its modules: ``torch.DistBackendError: ...``."""
    return said.partition(":")[0].rpartition(".")[2].strip()


def _last_words(traceback: str | None, last_lines: Sequence[str]) -> str:
    """The error's own line: what stands above it may tell of anything."""
    text = traceback or "\n".join(last_lines)
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-1:] if traceback else lines[-3:])
