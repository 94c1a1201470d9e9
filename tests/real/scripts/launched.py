"""Functions that a launcher starts."""

from __future__ import annotations

import os
import sys
import time


def environment(names: tuple[str, ...]) -> dict[str, str]:
    return {name: os.environ[name] for name in names}


def rank_times(factor: int) -> int:
    return int(os.environ["RANK"]) * factor


def fail_once(path: str) -> str:
    """Rank 1 fails at the first attempt."""
    if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        raise RuntimeError(f"see {path}")
    return os.environ["TORCHELASTIC_RESTART_COUNT"]


def leave_with(status: int) -> None:
    if os.environ["RANK"] == "1":
        sys.exit(status)
    time.sleep(60)
