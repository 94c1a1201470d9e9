"""The error handler that ``record`` takes where it is given none."""

from __future__ import annotations

from procession.multiprocessing.errors.error_handler import ErrorHandler

__all__ = ["get_error_handler"]


def get_error_handler() -> ErrorHandler:
    """A new ``ErrorHandler``."""
    return ErrorHandler()
