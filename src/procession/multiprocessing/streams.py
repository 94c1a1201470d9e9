"""The files that workers write to."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from procession._os.standard import fill_standard
from procession.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TextIO

__all__ = ["captured", "flush_own", "open_streams", "standard_streams"]

# Appending makes each write land whole at the end, whoever else holds the file (open(2), O_APPEND);
# emptying happens once, here.
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
_INHERITED = {"stdout": 1, "stderr": 2}


@contextmanager
def standard_streams() -> Iterator[None]:
    """Have 0, 1 and 2 open meanwhile: what the caller has closed is /dev/null for its workers."""
    with ExitStack() as lent:
        for fd in fill_standard():
            lent.callback(os.close, fd)
        yield


def open_streams(
    stdouts: Mapping[int, str], stderrs: Mapping[int, str], stack: ExitStack
) -> dict[int, tuple[int, int]]:
    """Open every worker's stdout and stderr before the first worker is started.

    Args:
        stdouts: Local rank to path; empty for the launcher's own stdout.
        stderrs: The same for stderr.
        stack: Closes the files.

    Returns:
        Local rank to the fds of its stdout and stderr.

    Raises:
        OSError: A file cannot be opened.
        UsageError: Two ranks would write into one regular file.
    """
    owners: dict[tuple[int, int], int] = {}
    fds = {}
    for rank, path in stdouts.items():
        pair = (_open(path, "stdout", stack), _open(stderrs[rank], "stderr", stack))
        fds[rank] = pair
        for fd, name in zip(pair, (path, stderrs[rank]), strict=True):
            if name:
                _claim(fd, name, rank, owners)
    return fds


def captured(stdouts: Mapping[int, str], stderrs: Mapping[int, str]) -> list[str]:
    """The regular files that workers write to, each once."""
    paths = dict.fromkeys((*stdouts.values(), *stderrs.values()))
    return [path for path in paths if path and os.path.isfile(path)]


def flush_own() -> None:
    """Write out what this process has printed, so that it stands before the workers' output.

    A fork would otherwise carry the buffers along and print them once more.
    """
    for stream in _own_streams():
        try:
            stream.flush()
        except (OSError, ValueError):  # a closed console is no reason not to start
            continue


def _own_streams() -> Iterator[TextIO]:
    return (stream for stream in (sys.stdout, sys.stderr) if stream is not None)


def _open(path: str, stream: str, stack: ExitStack) -> int:
    if not path:
        return _INHERITED[stream]
    fd = os.open(path, _FLAGS, 0o666)
    stack.callback(os.close, fd)
    return fd


def _claim(fd: int, path: str, rank: int, owners: dict[tuple[int, int], int]) -> None:
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode):
        return
    owner = owners.setdefault((facts.st_dev, facts.st_ino), rank)
    if owner != rank:
        raise UsageError(
            f"local ranks {owner} and {rank} would both write to {path}; give each rank a file of its "
            "own in LogsDest.stdouts and LogsDest.stderrs (one rank may use one file for both)"
        )
