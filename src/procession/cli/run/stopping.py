"""The stop file of a run: where it is, what is said of it, and who took it at its word."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from procession._report.words import NOT_AVAILABLE
from procession.cli.say import say
from procession.multiprocessing.stop_file import StopFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from procession.cli.rundir import RunDirectory
    from procession.multiprocessing.errors import ProcessFailure

_NAME = "stop"
_SHELL = 128  # above it a shell tells of a signal


class RunStopFile(StopFile):
    """``stop`` in the run's directory; among temporary files where the run has none.

    Attributes:
        directory: The run's, once there is one.
    """

    def __init__(self, signals: Sequence[str], terminating: Sequence[str]) -> None:
        super().__init__("", signals)
        self._terminating = terminating
        self.directory: RunDirectory | None = None
        self._settled = False

    @property
    def path(self) -> str:
        """Where it is, or would be."""
        return self.directory.beside(_NAME) if self.directory is not None else ""

    def settle(self) -> None:
        """Take the place for the final one: workers know it. A signal may have come before."""
        self._settled = True
        if self._asked is not None:
            self.touch()

    def touch(self) -> None:
        """Ask the workers to end, now or as soon as there are some."""
        if self._settled:
            super().touch()

    def leave(self) -> None:
        """Remove what no directory of the run would keep."""
        if self._settled and self.directory is not None and self.directory.path is None:
            with suppress(OSError):
                os.remove(self.path)

    def announce(self, name: str) -> None:
        """Say it at the terminal; a handler speaks, so nobody is waited for."""
        again = f"; a further {name} stops them" if name in self._terminating else ""
        say(f"{name}: {self.path} asks the workers to end{again}", patience=0)


def left_as_asked(failures: Mapping[int, ProcessFailure]) -> bool:
    """Whether a gang took the stop file at its word. Pure.

    It did if the root cause left with a status of its own choice, which 1 is not: all that fails ends
    with it. What crashed is started again: the file may be hours old, and workers need not look at it.

    Args:
        failures: What came of a gang in whose life the stop file was there, in order of time.
    """
    root = next(iter(failures.values()), None)
    return root is not None and 1 < root.exitcode <= _SHELL and root.error_file == NOT_AVAILABLE
