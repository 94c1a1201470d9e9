"""A gang of functions, as the tests of functions start it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from procession.multiprocessing import (
    DefaultLogsSpecs,
    PContext,
    RunProcsResult,
    Std,
    Supervision,
    start_processes,
)

METHODS = ["spawn", "fork", "forkserver"]
PATIENCE = 40  # seconds for what takes milliseconds


def launch(tmp: Path, method: str, fn: Any, args: Mapping[int, Any], **env: str) -> PContext:
    """Start ``fn`` once for each of ``args``; each knows its ``LOCAL_RANK``."""
    return start_processes(
        name="w",
        entrypoint=fn,
        args=dict(args),
        envs={rank: {"LOCAL_RANK": str(rank), **env} for rank in args},
        logs_specs=DefaultLogsSpecs(str(tmp), redirects=Std.ALL),
        start_method=method,
        supervision=Supervision(shutdown_timeout=5),
    )


def end(gang: PContext) -> RunProcsResult:
    """Wait for what comes of ``gang``, and leave nothing of it."""
    with gang:
        result = gang.wait(PATIENCE)
    assert result is not None
    return result


def values(gang: PContext) -> dict[int, Any]:
    """Return what the ranks of ``gang`` returned, of whom none failed."""
    result = end(gang)
    assert not result.is_failed(), result.failures
    return result.return_values
