"""What ends workers that are stuck: a timer server beside an agent's workers."""

from __future__ import annotations

import os
import tempfile
import uuid
from typing import TYPE_CHECKING

from procession.multiprocessing.failures import add_words
from procession.timer.file_based_local_timer import FileTimerServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from procession.multiprocessing.errors import ProcessFailure
    from procession.timer import FileTimerRequest

__all__ = ["ENABLE", "FILE", "Watchdog", "pipe_path"]

ENABLE = "TORCHELASTIC_ENABLE_FILE_TIMER"
FILE = "TORCHELASTIC_TIMER_FILE"

_INTERVAL = 10.0  # seconds; torch looks each 0.1 s, this server knows when the next timer runs out


def pipe_path(environ: Mapping[str, str]) -> tuple[bool, str | None]:
    """Whether a timer server is asked for, and the path that workers are told; pure but for a name.

    Args:
        environ: TORCHELASTIC_ENABLE_FILE_TIMER is ``1`` to ask for one; TORCHELASTIC_TIMER_FILE is the
            path, else it is a fresh one. Workers are told a given one in any case: the server may be
            somebody else's.
    """
    enabled, path = environ.get(ENABLE) == "1", environ.get(FILE)
    if enabled and path is None:
        path = os.path.join(tempfile.gettempdir(), f"watchdog_timer_{uuid.uuid4()}")
    return enabled, path


class Watchdog(FileTimerServer):
    """A timer server that remembers whom it has ended, and why.

    Args:
        file_path: Its pipe.
        run_id: The run.
        log_event: Told of what happens.
    """

    def __init__(
        self,
        file_path: str,
        run_id: str,
        log_event: Callable[[str, FileTimerRequest | None], None] | None = None,
    ) -> None:
        super().__init__(file_path, run_id, _INTERVAL, daemon=True, log_event=log_event)
        self._ended: dict[int, str] = {}  # by pid, the timer that had run out

    def explain(self, failures: Iterable[ProcessFailure]) -> None:
        """Of workers that this has ended, say so: the signal alone tells nobody."""
        for failure in failures:
            scope = self._ended.pop(failure.pid, None)  # the pid may be another's in time
            if scope is not None:
                add_words(failure, f"its timer {scope} had run out")

    def _expire(self, pid: int, timers: list[FileTimerRequest]) -> bool:
        fatal = next((timer for timer in timers if timer.signal > 0), None)
        if fatal is not None:
            self._ended[pid] = fatal.scope_id  # before: its death may be seen at once
        return super()._expire(pid, timers)
