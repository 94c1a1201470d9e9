"""The time by which a gang has to be gone: its guardian ends it then, and begins nothing after."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from procession._os.boottime import boottime_ns
from procession.errors import GuardianLostError
from procession.multiprocessing import DefaultLogsSpecs, Supervision, start_processes
from procession.testing import wait_gone

SECOND = 10**9


def run(tmp: Path, until: int, binary: str, *args: str, count: int = 1) -> list[int]:
    """Run a gang that has to be gone at a time to its end; return the pids of its workers."""
    ranks = range(count)
    context = start_processes(
        "w",
        binary,
        dict.fromkeys(ranks, args),
        {rank: {} for rank in ranks},
        DefaultLogsSpecs(str(tmp)),
        supervision=Supervision(shutdown_timeout=30, until=lambda: until),
    )
    with suppress(GuardianLostError):  # what is heard first: its end, or that of a worker
        result = context.wait(30)
        assert result is not None
        assert result.is_failed()
    return [*context.pids().values()]


def test_nothing_begins_after_it(tmp_path: Path) -> None:
    """As asked for by a launcher that was stopped for long in between."""
    (tmp_path / "ran").mkdir()
    run(tmp_path, boottime_ns() - 1, "sh", "-c", f"> {tmp_path}/ran/$$", count=20)
    assert os.listdir(tmp_path / "ran") == []


def test_what_runs_is_killed_then(tmp_path: Path) -> None:
    pids = run(tmp_path, boottime_ns() + SECOND, "sleep", "600")
    assert wait_gone(pids, 0) == []
