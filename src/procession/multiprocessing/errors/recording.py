"""`record`: a function's uncaught exception goes into the error file of its process."""

from __future__ import annotations

import functools
from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from procession._log import Logger
from procession._report.words import NOT_AVAILABLE
from procession.multiprocessing.errors.child_failed import ChildFailedError
from procession.multiprocessing.errors.handlers import get_error_handler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from procession.multiprocessing.errors.error_handler import ErrorHandler

__all__ = ["leave_word", "record"]

logger = Logger(__name__)

_P = ParamSpec("_P")
_R = TypeVar("_R")


def record(
    fn: Callable[_P, _R], error_handler: ErrorHandler | None = None
) -> Callable[_P, _R | None]:
    """Decorate the main function of a worker or of a launcher, to have its failure reported.

    An exception that leaves the function is written to the file that TORCHELASTIC_ERROR_FILE names; of
    a `ChildFailedError` it is the first failure's own error file that is handed on. Then it is raised
    again. ``sys.exit(0)`` becomes a return of None, other exits pass.

    A handler that fails itself is logged: it neither hides the function's own exception nor keeps the
    function from running.

    Args:
        fn: The function.
        error_handler: What writes; `get_error_handler` gives the usual one.

    Example:
        ::

            @record
            def main() -> None: ...
    """
    handler = error_handler or get_error_handler()

    @functools.wraps(fn)
    def recorded(*args: _P.args, **kwargs: _P.kwargs) -> _R | None:
        with _logged("initialize"):
            handler.initialize()
        try:
            return fn(*args, **kwargs)
        except SystemExit as exit_:
            if exit_.code == 0:
                return None
            raise
        except Exception as error:
            leave_word(handler, error)
            raise

    return recorded


def leave_word(handler: ErrorHandler, error: Exception) -> None:
    """Write down what ends this process; of a `ChildFailedError` the first failure's error file.

    Args:
        handler: What writes; an error of its own is logged.
        error: The exception that nobody caught.
    """
    if isinstance(error, ChildFailedError):
        _hand_on(handler, error)
        return
    with _logged("record the exception"):
        handler.record_exception(error)


def _hand_on(handler: ErrorHandler, error: ChildFailedError) -> None:
    rank, failure = error.get_first_failure()
    if failure.error_file == NOT_AVAILABLE:
        logger.info("rank %s failed without an error file: %s", rank, failure.message)
        return
    with _logged(f"hand on {failure.error_file}"):
        handler.dump_error_file(failure.error_file, failure.exitcode)


@contextmanager
def _logged(deed: str) -> Iterator[None]:
    """Log what the body raises: handlers are anybody's code, and a report may not make things worse."""
    try:
        yield
    except Exception:
        logger.exception("the error handler could not %s", deed)
