"""What remains of a dead worker beside its exit code."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from procession._report.files import regular_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from procession._os.memory import Oom, Space

FATAL = "Fatal Python error: "
"""What faulthandler begins with (Python/pylifecycle.c, fatal_error)."""

REMOVED = "[it has been removed]"
"""What stands in the place of the last lines of a file that is there no more."""

_BEFORE = 10  # lines before it: what a C++ library said when it called abort(3)
_WIDE = 1 << 18  # bytes: the stacks of a few hundred threads


class Evidence(NamedTuple):
    """What a report can show of a failure.

    Attributes:
        core_dumped: The kernel wrote a core file.
        duration: Seconds from the worker's start to its death.
        last_lines: The last lines on its stderr.
        stdout: Path of its captured stdout, "" where it was not captured.
        stderr: Path of its captured stderr, "" where it was not captured.
        oom: What the kernel counted of OOM kills, None where it cannot be read or was not asked.
        shared_memory: The space of /dev/shm after a death by SIGBUS.
        core: Where its core dump is.
        hastened_by: The signal of ours that ended it on its way out, with the exit code that it would
            have had; "" if none did.
    """

    core_dumped: bool = False
    duration: float | None = None
    last_lines: tuple[str, ...] = ()
    stdout: str = ""
    stderr: str = ""
    oom: Oom | None = None
    shared_memory: Space | None = None
    core: str = ""
    hastened_by: str = ""


def last_lines(path: str, count: int = 20, limit: int = 16384) -> tuple[str, ...]:
    r"""The end of a log, as a terminal would have shown it.

    Of a line that was redrawn with ``\r`` (a progress bar) the last drawing is taken, blank lines at
    the end are left out. Of a line longer than `limit` the end is given when it is the only one.

    Args:
        path: The log file.
        count: Lines at most.
        limit: Bytes read at most, from the end.

    Returns:
        The lines, decoded as UTF-8 with U+FFFD for what is not; none if the file cannot be read.
    """
    try:
        data = _tail(path, limit)
    except (OSError, ValueError):
        return ()
    lines = data.decode("utf-8", "replace").split("\n")
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
    while shown and not shown[-1].strip():
        shown.pop()
    return tuple(shown[-count:]) if count > 0 else ()


def final_lines(path: str, exitcode: int) -> tuple[str, ...]:
    """The last lines of a worker's stderr; of one that a signal ended, where faulthandler saw it.

    Args:
        path: The log file.
        exitcode: As in `subprocess`.

    Returns:
        The lines; that somebody has removed the file, where that is so.
    """
    if exitcode < 0:
        seen = fault_lines(last_lines(path, count=10_000, limit=_WIDE))
        if seen:
            return seen
    # It was there when the worker began: to find nothing in its place is not to find nothing in it.
    return last_lines(path) if os.path.lexists(path) else (REMOVED,)


def fault_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Of the lines of a log, faulthandler's last word: its header and the stack of the thread at fault.

    Other threads' stacks, and the names of a hundred extension modules, stand around it. Pure.

    Returns:
        The lines, none where faulthandler said nothing.
    """
    starts = [at for at, line in enumerate(lines) if line.startswith(FATAL)]
    if not starts:
        return ()
    said = lines[starts[-1] + 1 :]
    threads = [at for at, line in enumerate(said) if line.startswith("Current thread ")]
    stack = _paragraph(said[threads[-1] :]) if threads else _paragraph(said)
    return (*lines[max(0, starts[-1] - _BEFORE) : starts[-1] + 1], *stack)


def _paragraph(lines: Sequence[str]) -> Sequence[str]:
    """The lines up to the first blank one, leading ones aside."""
    begun = next((at for at, line in enumerate(lines) if line.strip()), len(lines))
    end = next((at for at in range(begun, len(lines)) if not lines[at].strip()), len(lines))
    return lines[begun:end]


def _tail(path: str, limit: int) -> bytes:
    """The last `limit` bytes, less a first line that began before them."""
    with regular_file(path) as file:
        start = max(0, file.size - limit)
        if start == 0:
            return file.read(0, limit)
        before, newline, rest = file.read(start - 1, limit + 1).partition(b"\n")
    return rest if newline and rest.strip() else before[1:] + newline + rest
