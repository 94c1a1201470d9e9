"""Watching a guardian while nobody is in ``wait()``: a thread of the launcher that sleeps in waitid(2)."""

from __future__ import annotations

import os
import select
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from procession._guardian.sweep import send
from procession._os.lean import SIGCONT, SIGKILL
from procession._os.proc import stat

if TYPE_CHECKING:
    from collections.abc import Callable

_STOPPED = "Tt"  # states of proc_pid_stat(5): by a signal, by a tracer
_PATIENCE_MS = 1000  # for whoever has stopped it to continue it, and for SIGCONT to do so


class Sentry:
    """Sees a child end or be stopped, at once and without a poll.

    The thread ends with the child, which must not be reaped before.
    """

    def __init__(self, pid: int, ended: Callable[[], None]) -> None:
        """Begin to watch ``pid``; ``ended`` is called in the thread."""
        self._pid = pid
        self._ended = ended
        self._thread = threading.Thread(target=self._watch, name="procession-sentry", daemon=True)
        with suppress(RuntimeError):  # no thread is to be had: then only ``wait()`` watches
            self._thread.start()

    def join(self) -> None:
        """Wait for the thread, after the child's end; the thread itself may ask, and does not wait."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _watch(self) -> None:
        while self._sleep():
            revive(self._pid)
        self._ended()

    def _sleep(self) -> bool:
        """Return True when the child was stopped, False when it has ended."""
        try:
            seen = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
            if seen is None or seen.si_code != os.CLD_STOPPED:
                return False
            os.waitid(os.P_PID, self._pid, os.WSTOPPED | os.WNOHANG)  # so that it is not seen again
        except ChildProcessError:  # somebody else has reaped it
            return False
        return True


def is_stopped(pid: int) -> bool:
    """True if ``pid`` does not run because of a signal or a debugger."""
    facts = stat(pid)
    return facts is not None and facts.state in _STOPPED


def revive(pid: int) -> None:
    """Continue a stopped child that nobody else continues, and kill it where that does not help."""
    select.poll().poll(_PATIENCE_MS)
    facts = stat(pid)
    if facts is None or not facts.alive:
        return
    # Whatever its state: one that is frozen (cgroups(7)) as well seems to be in D, and its stop is told of once.
    send(pid, SIGCONT)
    select.poll().poll(_PATIENCE_MS)
    if is_stopped(pid):
        send(pid, SIGKILL)
