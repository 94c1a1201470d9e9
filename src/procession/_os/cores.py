"""Where the kernel puts a core dump: core_pattern, see core(5)."""

from __future__ import annotations

import os
import re
from glob import escape, glob

_PATTERN = "/proc/sys/kernel/core_pattern"
_USES_PID = "/proc/sys/kernel/core_uses_pid"


def core_of(pid: int, signum: int, directory: str) -> str:
    """Say where the core dump of a process is, "" where the kernel tells nothing of it.

    Args:
        pid: The process.
        signum: The signal that ended it.
        directory: Where it was started; it may have gone elsewhere since.

    Returns:
        The file; ``handed to PROGRAM`` where a program takes all dumps of this host; a pattern, with
        ``*`` for what only the kernel knew, where no such file is found.
    """
    pattern = _line(_PATTERN)
    if pattern.startswith("|"):
        return f"handed to {_program(pattern, pid)}"
    if not pattern or pattern.startswith("@"):  # a socket (coredump_socket, Linux 6.16)
        return "handed to a program of this host" if pattern else ""
    place = expand(pattern, pid, signum, uses_pid=_line(_USES_PID) not in {"", "0"})
    there = os.path.join(escape(directory), place)
    found = sorted(glob(there), key=os.path.getmtime)
    return found[-1] if found else f"{os.path.join(directory, place)} (not found there)"


def expand(pattern: str, pid: int, signum: int, *, uses_pid: bool) -> str:
    """Fill in a core_pattern, as a pattern of glob(7). Pure."""
    known = {"%": "%", "p": str(pid), "i": str(pid), "s": str(signum)}
    name = re.sub("%(.?)", lambda match: known.get(match[1], "*"), escape(pattern))
    # core(5): with core_uses_pid set, a pattern without %p gets the pid at its end
    return name if not uses_pid or "%p" in pattern else f"{name}.{pid}"


def _program(pattern: str, pid: int) -> str:
    program = pattern[1:].partition(" ")[0]
    hint = f", coredumpctl info {pid}" if program.endswith("systemd-coredump") else ""
    return program + hint


def _line(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return ""
