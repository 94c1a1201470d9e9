"""The runs there are, as a table for a person."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from procession.cli.runs import Run, all_names, run_at, started

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEAD = ("RUN", "STATE", "STARTED", "RANKS", "ATTEMPTS", "SCRIPT")


def table(places: Sequence[str]) -> str:
    """The runs in some directories, the latest last.

    Args:
        places: Where runs are looked for.
    """
    paths = sorted(all_names(places).values(), key=started)
    if not paths:
        return f"no run in {' or '.join(map(os.path.abspath, places))}\n"
    return aligned([_HEAD, *(_row(run_at(path)) for path in paths)])


def _row(run: Run) -> tuple[str, ...]:
    numbers = run.attempts()
    ranks = len(run.ranks(numbers[-1])) if numbers else 0
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(started(run.path)))
    script = str(run.report.get("name", ""))
    return (run.name, run.state(), began, str(ranks), str(len(numbers)), script)


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as lines with their columns under each other. Pure."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(lines) + "\n"
