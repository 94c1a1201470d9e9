"""Failures of workers: how they are written, read, ordered and told.

A worker's uncaught exception goes from its process to its launcher through a file: `record` (or the
command line, by itself) writes it where TORCHELASTIC_ERROR_FILE says, and `ProcessFailure` reads it.
`ChildFailedError` carries the failures of a gang upward, the first of them as its root cause.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
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

# Each name is imported with its first use: a worker needs `record`, and a run in which all is well
# only asks whether it was a `ChildFailedError`.
_HOMES = {
    "ChildFailedError": "child_failed",
    "ErrorHandler": "error_handler",
    "ProcessFailure": "failure",
    "get_error_handler": "handlers",
    "record": "recording",
}


def __getattr__(name: str) -> object:
    if name in _HOMES.values():  # a module of this package, which torch's has imported
        return __import__(f"{__name__}.{name}", fromlist=[name])
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = __import__(f"{__name__}.{_HOMES[name]}", fromlist=[name])
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
