"""The stop file: a launcher asks its workers to come to an end, and they look when it suits them."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from procession._log import Logger
from procession._loop.machine import ECHO

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["VARIABLE", "StopFile"]

VARIABLE = "PROCESSION_STOP_FILE"

logger = Logger(__name__)


class StopFile:
    """A file that workers find named in ``PROCESSION_STOP_FILE``, and that is there once they are to end.

    A training loop asks ``os.path.exists`` once a step, at a place where it can save what it has and
    leave. Nothing interrupts it: no signal in the middle of a collective or of a write. Whoever can
    write to the directory may ask: a signal to the launcher, a Kubernetes preStop hook, a person with
    ``touch``. Who removes the file takes the wish back.

    Args:
        path: The file; its directory has to be there. One that is there already counts as a wish.
        signals: Names of signals to the launcher that make it. They are also passed on to those workers
            that catch them. One of ``Supervision.signals_to_handle`` among them asks first: only when
            it comes again, more than a second later, is it raised as ``SignalException``.
    """

    def __init__(self, path: str, signals: Sequence[str] = ("SIGUSR1", "SIGUSR2")) -> None:
        self._path = path
        self.signals = tuple(signals)
        self._asked: float | None = None  # monotonic seconds of the first signal

    @property
    def path(self) -> str:
        """Where it is, or would be."""
        return self._path

    def exists(self) -> bool:
        """True once somebody has asked."""
        return os.path.exists(self.path)

    def touch(self) -> None:
        """Ask the workers to end.

        Raises:
            OSError: The file cannot be made.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(self.path, flags, 0o644))

    def hear(self, signum: int) -> bool:
        """Take a signal to the launcher; called by its handler.

        Args:
            signum: The signal.

        Returns:
            True if it asks by this file: it is one of ``signals``, and the first, or its echo.
        """
        name = signal.Signals(signum).name
        if name not in self.signals:
            return False
        now = time.monotonic()
        if self._asked is not None:
            return now - self._asked <= ECHO
        self._asked = now
        try:
            self.touch()
        except OSError as error:
            logger.warning("%s: %s could not be made: %s", name, self.path, error.strerror)
        else:
            self.announce(name)
        return True

    def announce(self, name: str) -> None:
        """Say that signal NAME has made the file."""
        logger.info("%s: %s asks the workers to end", name, self.path)
