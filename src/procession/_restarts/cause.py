"""What ended a gang, as far as a policy of restarts asks. Pure."""

from __future__ import annotations

import re
import signal
from typing import NamedTuple

WORKER, HOST, START, GUARDIAN = "worker", "host", "start", "guardian"

_SHELL = 128  # above it a shell tells of a signal

# A frame of a traceback; a group's frames stand behind bars.
_FRAME = re.compile(r'^[ |]*File "([^"\n]+)", line (\d+)(?:, in (.+))?$', re.MULTILINE)


class Cause(NamedTuple):
    """The root cause of a gang's end. It goes to other hosts as JSON.

    Attributes:
        kind: ``worker``, ``host`` (one was lost), ``start`` (a worker could not be started) or
            ``guardian`` (who looks after the workers was killed).
        exitcode: As in `subprocess`.
        exception: Qualified name of the exception's class, "" where none was told.
        raised_at: Where it was raised, to be shown; "" where that is not known.
        frames: A digest of the exception's class and all places of its traceback, "" likewise.
        oom: The kernel killed it because memory ran out, as far as can be told.
        asked: It left as it was asked to.
        words: It in words, such as ``rank 1 died of SIGKILL``.
    """

    kind: str = WORKER
    exitcode: int = 1
    exception: str = ""
    raised_at: str = ""
    frames: str = ""
    oom: bool = False
    asked: bool = False
    words: str = ""

    @property
    def status(self) -> int:
        """The exit status that tells of it."""
        return self.exitcode if self.exitcode >= 0 else _SHELL - self.exitcode

    @property
    def signal(self) -> int:
        """The signal that ended the worker, or the command of a shell that was the worker; else 0."""
        number = self.status - _SHELL
        return number if number in signal.valid_signals() else 0


_NOT_STARTED = "workers could not be started: "


def not_started(status: int, why: str) -> Cause:
    """The cause where workers of a host could not be started."""
    return Cause(START, status, words=f"{_NOT_STARTED}{why}")


def detail(cause: Cause) -> str:
    """What its words tell beside the kind of failure."""
    return cause.words.removeprefix(_NOT_STARTED)


def raised_at(traceback: str) -> str:
    """The place of a traceback's last frame, ``train.py:37 in step``, "" where it has none."""
    frames = _FRAME.findall(traceback)
    if not frames:
        return ""
    path, line, function = frames[-1]
    place = f"{path.rpartition('/')[2]}:{line}"
    return f"{place} in {function}" if function and function != "<module>" else place


def digest(exception: str, traceback: str) -> str:
    """What two failures share that raised the same class at the same place; "" without a traceback.

    The message is left out: it holds addresses, sizes, names of files.
    """
    frames = _FRAME.findall(traceback)
    if not frames:
        return ""
    from hashlib import blake2b

    text = "\n".join([exception, *map(":".join, frames)])
    return blake2b(text.encode(errors="replace"), digest_size=8).hexdigest()
