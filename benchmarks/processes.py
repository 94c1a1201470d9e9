"""The memory of a tree of processes, from /proc."""

from __future__ import annotations

import os
import re
from pathlib import Path


def parents() -> dict[int, int]:
    """The parent of every process of the machine."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = Path(f"/proc/{name}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The name in parentheses may hold spaces and parentheses: proc_pid_stat(5).
        found[int(name)] = int(stat.rpartition(")")[2].split()[1])
    return found


def tree(pid: int) -> set[int]:
    """A process and all its descendants."""
    parent_of, found, more = parents(), set[int](), {pid}
    while more:
        found |= more
        more = {child for child, parent in parent_of.items() if parent in more} - found
    return found


def rss(pid: int) -> float:
    """Resident memory in MB; a page that processes share counts in each of them."""
    return _megabytes("Rss", pid)


def pss(pid: int) -> float:
    """Resident memory in MB; each of n processes that share a page counts an n-th of it."""
    return _megabytes("Pss", pid)


def _megabytes(kind: str, pid: int) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kib) for kib in re.findall(rf"^{kind}: +(\d+) kB", rollup, re.MULTILINE)) / 1000
