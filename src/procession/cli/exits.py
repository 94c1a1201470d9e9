"""The exit status of ``procession run``; the table for people is docs/exit-status.md. Pure."""

from __future__ import annotations

from procession.errors import ProcessionError, RunFailedError
from procession.multiprocessing.errors import ChildFailedError
from procession.multiprocessing.supervision import SignalException

_SIGNALLED = 128  # what shells add to the number of the signal that ended a command


def exit_status(error: BaseException | None) -> int:
    """The status of a run that ended with this exception, or with none.

    Args:
        error: What the run raised; None after success.

    Returns:
        The root cause's own status for failed workers, 128 + n where signal n ended the root cause
        or the launcher, else the status that procession's own exceptions carry.
    """
    if error is None:
        return 0
    if isinstance(error, ChildFailedError):
        return worker_status(error.get_first_failure()[1].exitcode)
    if isinstance(error, RunFailedError):
        return error.status
    if isinstance(error, SignalException):
        return _SIGNALLED + error.sigval
    if isinstance(error, KeyboardInterrupt):
        return _SIGNALLED + 2
    return error.exit_code if isinstance(error, ProcessionError) else ProcessionError.exit_code


def worker_status(exitcode: int) -> int:
    """The status that stands for a worker's end, which `subprocess` would give as ``exitcode``."""
    return exitcode if exitcode >= 0 else _SIGNALLED - exitcode
