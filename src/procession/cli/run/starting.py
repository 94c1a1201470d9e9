"""Why a worker could not be started, and what to do about it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from procession.errors import (
    ProcessionError,
    ProgramNotExecutableError,
    ProgramNotFoundError,
    StartError,
)

if TYPE_CHECKING:
    from procession.cli.plan.command import Command

_HINTS = {
    errno.E2BIG: "its arguments and environment are too long together",
    errno.EAGAIN: "too many processes; see ulimit -u and the pids limit of the cgroup",
    errno.EMFILE: "too many open files; raise the limit by ulimit -n",
    errno.ENFILE: "too many open files on this host",
    errno.ENOMEM: "out of memory",
    errno.ENOSPC: "the disk is full",
}


def start_error(error: OSError, command: Command) -> ProcessionError:
    """Make of what the operating system said something for a person.

    Args:
        error: What the start raised; its ``local_rank``, if it has one, is the worker's.
        command: What was to be executed.

    Returns:
        The exception to raise, whose exit status is that of a shell where a shell has one.
    """
    rank = getattr(error, "local_rank", None)
    who = "The run" if rank is None else f"Local rank {rank}"
    path = str(error.filename or command.entrypoint)
    said = f"{who} could not be started: {path}: {error.strerror}"
    if rank is not None and error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return ProgramNotFoundError(said + _lost_interpreter(path))
    if rank is not None and error.errno == errno.ENOEXEC:
        hint = "Does its first line lack an interpreter, such as #!/bin/sh?"
        return ProgramNotExecutableError(f"{said}. {hint}")
    if rank is not None and error.errno in {errno.EACCES, errno.EPERM}:
        return ProgramNotExecutableError(f"{said}. To make it executable: chmod +x {path}")
    hint = _HINTS.get(error.errno or 0, "")
    return StartError(f"{said}{f' ({hint})' if hint else ''}. No worker is left running.")


def _lost_interpreter(path: str) -> str:
    """A script that is there but cannot be found by exec names an interpreter that is not there."""
    try:
        with open(path, "rb") as file:
            first = file.readline(256)
    except OSError:
        return ". Was it removed?"
    if first.startswith(b"#!"):
        interpreter = os.fsdecode(first[2:].strip())
        return f". It is there, but its interpreter is not: {interpreter}"
    return ". It is there, but the loader or a library that it needs is not."
