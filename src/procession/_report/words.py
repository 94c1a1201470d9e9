"""Exit codes, durations and ranks in words for a person. Pure."""

from __future__ import annotations

import signal
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from procession._os.memory import Oom

_SIGNALS = {
    "SIGABRT": "aborted itself, as a failed C++ assertion does",
    "SIGBUS": "bus error; perhaps /dev/shm or the disk under a mapped file is full, or the file was cut",
    "SIGFPE": "arithmetic error, as an integer division by zero",
    "SIGHUP": "its terminal or session was closed",
    "SIGILL": "illegal instruction; perhaps built for another CPU",
    "SIGINT": "interrupted",
    "SIGKILL": "killed; perhaps by the kernel's OOM killer: see dmesg",
    "SIGPIPE": "wrote to a pipe that nobody reads",
    "SIGQUIT": "asked to quit with a core dump",
    "SIGSEGV": "invalid memory access",
    "SIGSYS": "a system call that is not allowed here",
    "SIGTERM": "asked to end, not by procession",
    "SIGTRAP": "stopped at a breakpoint without a debugger",
    "SIGXCPU": "over its limit of CPU time (ulimit -t)",
    "SIGXFSZ": "over its limit of file size (ulimit -f)",
}

NOT_AVAILABLE = "<N/A>"
"""torch's word for an error file, or the name of a signal, that there is not."""

_KILLED = -int(signal.SIGKILL)

_CODES = {
    120: "Python could not write out its output at the end; perhaps the disk is full",
    126: "as of a shell: the command cannot be executed",
    127: "as of a shell: the command was not found",
}


@cache
def signal_name(number: int) -> str | None:
    """The name of a signal, None where it has none (most real-time signals)."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return None


def exit_name(exitcode: int) -> str:
    """``SIGKILL``, ``signal 40`` or ``exit code 3``, from an exit code as `subprocess` gives it."""
    if exitcode >= 0:
        return f"exit code {exitcode}"
    return signal_name(-exitcode) or f"signal {-exitcode}"


def exit_meaning(exitcode: int, oom: Oom | None = None) -> str:
    """What such an end means in plain words, "" where it says nothing of itself.

    Args:
        exitcode: As in `subprocess`.
        oom: What was counted of OOM kills until then, None where that is not known.
    """
    if exitcode == _KILLED and oom is not None:
        return _killed(oom)
    if exitcode < 0:
        return _SIGNALS.get(exit_name(exitcode), "")
    name = signal_name(exitcode - 128) if 128 < exitcode < 128 + 65 else None
    if name is None:
        return _CODES.get(exitcode, "")
    killed = f": {_killed(oom)}" if name == "SIGKILL" and oom is not None else ""
    return f"as of a shell whose command died of {name}{killed}"


def _killed(oom: Oom) -> str:
    if not oom.moved:
        return "killed from outside; the kernel's OOM killer ended nobody on this host meanwhile"
    return f"killed{'' if oom.sure else ', likely'} by the kernel's OOM killer: out of memory"


def span(seconds: float) -> str:
    """A duration to be read: ``0.4 ms``, ``120 ms``, ``12.4 s``, ``3 min 20 s``, ``2 h 03 min``."""
    if seconds < 0.01:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: int) -> str:
    """Bytes to be read: ``12.0 MiB``, ``3.5 GiB``."""
    unit, name = (1 << 30, "GiB") if count >= 1 << 30 else (1 << 20, "MiB")
    return f"{count / unit:.1f} {name}"


def ranks_text(ranks: Iterable[int]) -> str:
    """``rank 3`` or ``ranks 0, 4-7``."""
    ordered = sorted(set(ranks))
    runs = [
        [rank for _, rank in run]
        for _, run in groupby(enumerate(ordered), key=lambda pair: pair[1] - pair[0])
    ]
    text = ", ".join(_run(run[0], run[-1]) for run in runs)
    return f"{'rank' if len(ordered) == 1 else 'ranks'} {text}"


def _run(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
