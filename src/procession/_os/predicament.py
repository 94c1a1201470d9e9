"""Why a process does not die of SIGKILL, as far as the kernel says."""

from __future__ import annotations

from typing import NamedTuple


class Predicament(NamedTuple):
    """What a process is stuck in.

    Attributes:
        state: As in /proc/<pid>/status: ``D (disk sleep)``, uninterruptible until its call returns.
        wchan: The kernel function in which it sleeps, "" where that is not told.
        stack: Its kernel stack, innermost first; only root may read it.
    """

    state: str = ""
    wchan: str = ""
    stack: tuple[str, ...] = ()


def predicament(pid: int) -> Predicament:
    """Return in what ``pid`` is stuck; empty where it has gone after all."""
    states = [line for line in _lines(pid, "status") if line.startswith("State:")]
    wchan = "".join(_lines(pid, "wchan"))
    frames = tuple(line.partition("] ")[2] or line for line in _lines(pid, "stack"))
    state = states[0].partition(":")[2].strip() if states else ""
    return Predicament(state, "" if wchan == "0" else wchan, frames)


def _lines(pid: int, name: str) -> list[str]:
    try:
        with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []
