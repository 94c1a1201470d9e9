"""Whether a processor is free: /proc/loadavg, see proc_loadavg(5)."""

from __future__ import annotations

import os

_LOAD = "/proc/loadavg"


def all_taken() -> bool:
    """True where as many threads run, or wait to, as this thread may use processors; also if unknown.

    Of a container it is the host's threads that count.
    """
    try:
        with open(_LOAD, encoding="utf-8") as file:
            running = int(file.read().split()[3].partition("/")[0])
        return running >= len(os.sched_getaffinity(0))
    except (OSError, ValueError, IndexError, AttributeError):  # AttributeError: not on macOS
        return True
