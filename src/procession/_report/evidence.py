"""What remains of a dead worker beside its exit code."""

from __future__ import annotations

from typing import NamedTuple

from procession._report.files import regular_file


class Evidence(NamedTuple):
    """What a report can show of a failure.

    Attributes:
        core_dumped: The kernel wrote a core file.
        duration: Seconds from the worker's start to its death.
        last_lines: The last lines on its stderr.
        stdout: Path of its captured stdout, "" where it was not captured.
        stderr: Path of its captured stderr, "" where it was not captured.
    """

    core_dumped: bool = False
    duration: float | None = None
    last_lines: tuple[str, ...] = ()
    stdout: str = ""
    stderr: str = ""


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


def _tail(path: str, limit: int) -> bytes:
    """The last `limit` bytes, less a first line that began before them."""
    with regular_file(path) as file:
        start = max(0, file.size - limit)
        if start == 0:
            return file.read(0, limit)
        before, newline, rest = file.read(start - 1, limit + 1).partition(b"\n")
    return rest if newline and rest.strip() else before[1:] + newline + rest
