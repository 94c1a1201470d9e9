"""Failures of workers: how they are written, read, ordered and told.

A worker's uncaught exception goes from its process to its launcher through a file: `record` (or the
command line, by itself) writes it where TORCHELASTIC_ERROR_FILE says, and `ProcessFailure` reads it.
`ChildFailedError` carries the failures of a gang upward, the first of them as its root cause.
"""

from __future__ import annotations

from procession.multiprocessing.errors.child_failed import ChildFailedError
from procession.multiprocessing.errors.error_handler import ErrorHandler
from procession.multiprocessing.errors.failure import ProcessFailure
from procession.multiprocessing.errors.handlers import get_error_handler
from procession.multiprocessing.errors.recording import record

__all__ = [
    "ChildFailedError",
    "ErrorHandler",
    "ProcessFailure",
    "get_error_handler",
    "record",
]
