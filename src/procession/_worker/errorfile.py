"""Writes a worker's error.json: the exception that ended it, for the launcher's report.

The schema is torch's, so that its readers read ours::

    {"message": {"message": "ValueError: x",
                 "extraInfo": {"py_callstack": "Traceback ...", "timestamp": "1700000000", ...}}}

and to ``extraInfo`` we add what the report needs: ``timestamp_ns`` (wall clock), ``monotonic_ns``
(CLOCK_MONOTONIC, one clock for all ranks of a host), ``exception_type``, ``pid``, ``hostname``, and
from the environment ``rank``, ``local_rank`` and ``restart_count`` where they are set.

Standard library only, for every Python from 3.8 on: ``as_main`` loads this file by path, also where
procession is not installed. Every rank that fails pays for its imports, so they wait for their use.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Bytes of UTF-8. JSON's \u0000 makes six of one, so that a file of ours stays below 8 MiB.
MESSAGE_LIMIT = 256 << 10
TRACEBACK_LIMIT = 1 << 20

_SECOND = 10**9
_RANKS = {"rank": "RANK", "local_rank": "LOCAL_RANK", "restart_count": "TORCHELASTIC_RESTART_COUNT"}


def describe(exc: BaseException, *, traceback_text: str | None = None) -> dict[str, Any]:
    """The exception as the data of an error file.

    Nothing in the exception makes this raise: its own ``__str__`` may fail, its text may hold
    surrogates or 100 MB, its causes may go round in a circle.

    Args:
        exc: The exception; "now" is taken as the time of the failure.
        traceback_text: The traceback, where the exception itself no longer has it.
    """
    now, monotonic = time.time_ns(), time.monotonic_ns()
    callstack = _traceback(exc) if traceback_text is None else traceback_text
    extra = {
        "py_callstack": _printable(callstack, TRACEBACK_LIMIT),
        "timestamp": str(now // _SECOND),
        "timestamp_ns": now,
        "monotonic_ns": monotonic,
        "exception_type": _printable(ask(lambda: _qualified(type(exc))), MESSAGE_LIMIT),
        "pid": os.getpid(),
        "hostname": os.uname().nodename,
    }
    extra.update(_numbers_of_the_environment())
    return {"message": {"message": words(exc), "extraInfo": extra}}


def words(exc: BaseException) -> str:
    """The exception as ``Name: text``, whatever its own methods do."""
    message = f"{ask(lambda: type(exc).__name__)}: {ask(lambda: str(exc))}"
    return _printable(message, MESSAGE_LIMIT)


def ask(question: Callable[[], str], otherwise: str = "<exception str() failed>") -> str:
    """The answer of code that may be the user's: a ``__str__``, a metaclass, a linecache loader."""
    try:
        return question()
    except BaseException:  # noqa: BLE001 - theirs may raise anything, and the process is dying of another
        return otherwise


def write(path: str, data: dict[str, Any]) -> None:
    """Write DATA to PATH, whole or not at all.

    Raises:
        OSError: The directory is gone, the disk is full, permission is denied.
    """
    import json

    write_text(path, json.dumps(data))


def write_text(path: str, text: str) -> None:
    """Put TEXT where PATH is, by way of a file beside it; a device or a pipe is written to as it is.

    Raises:
        OSError: As of ``write``. A file that was there before is as it was.
    """
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):
        _write_to_device(target, text)
        return
    draft = f"{target}.{os.getpid()}-{time.monotonic_ns():x}.tmp"
    try:
        with open(draft, "x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        os.replace(draft, target)
    except BaseException:
        _remove(draft)
        raise


def record(exc: BaseException, path: str | None = None, *, monotonic_ns: int | None = None) -> None:
    """Leave word of the exception that ends this process; never raises.

    The file says that it was ``uncaught``: what a handler inside the program has written may be of
    an exception that the program then dealt with.

    A file that the user's own handler (torch's ``@record``, say) has written in this process keeps
    its message, and gets those of our keys it lacks. Failure to write is one line on stderr.

    Args:
        exc: The uncaught exception.
        path: The file; ``TORCHELASTIC_ERROR_FILE`` if None. Nothing happens where that is not set.
        monotonic_ns: When it was caught, CLOCK_MONOTONIC; now if None.
    """
    path = os.environ.get("TORCHELASTIC_ERROR_FILE") if path is None else path
    if not path:
        return
    ours = describe(exc)
    ours["message"]["extraInfo"]["uncaught"] = True
    if monotonic_ns is not None:
        ours["message"]["extraInfo"]["monotonic_ns"] = monotonic_ns
    try:
        _add_to(path, ours)
    except Exception as failure:  # noqa: BLE001 - the script's exception comes first, whatever fails here
        _complain(f"the exception could not be written to {path!r}: {failure}")


def _add_to(path: str, ours: dict[str, Any]) -> None:
    theirs = _written_by_this_process(path)
    if theirs is None:
        write(path, ours)
    elif isinstance(theirs["message"], dict):
        extra = theirs["message"].setdefault("extraInfo", {})
        if isinstance(extra, dict):
            write(path, _with_missing(theirs, extra, ours["message"]["extraInfo"]))


def _with_missing(
    data: dict[str, Any], extra: dict[str, Any], ours: dict[str, Any]
) -> dict[str, Any]:
    extra.update({key: value for key, value in ours.items() if key not in extra})
    return data


def _written_by_this_process(path: str) -> dict[str, Any] | None:
    """The error file's object, if it is one and younger than this process."""
    import json

    try:
        if not os.path.isfile(path) or os.stat(path).st_mtime_ns < _process_start_ns():
            return None
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
    except (OSError, ValueError, RecursionError):  # none, unreadable, torn
        return None
    return data if isinstance(data, dict) and isinstance(data.get("message"), (str, dict)) else None


def _process_start_ns() -> int:
    """Wall-clock ns at which this process was forked, up to a clock tick too early.

    Raises:
        OSError: There is no /proc.
    """
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    # proc(5): field 22, starttime, in ticks since boot; the first one here is field 3.
    started = int(fields[22 - 3]) * _SECOND // os.sysconf("SC_CLK_TCK")
    return time.time_ns() - (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - started)


def _write_to_device(target: str, text: str) -> None:
    # O_NONBLOCK: a pipe that nobody reads is an error at once, not a worker that never ends.
    fd = os.open(target, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)


def _remove(path: str) -> None:
    try:  # noqa: SIM105 - contextlib is an import
        os.unlink(path)
    except OSError:  # never made, or gone with its directory
        pass


def _complain(problem: str) -> None:
    try:  # noqa: SIM105
        sys.stderr.write(f"procession: {problem}\n")
    except (AttributeError, OSError, ValueError):  # stderr is None, full or closed
        pass


def _traceback(exc: BaseException) -> str:
    import traceback

    def whole(chain: bool) -> str:
        lines = traceback.format_exception(type(exc), exc, exc.__traceback__, chain=chain)
        return "".join(lines)

    return ask(lambda: whole(chain=True), "") or ask(lambda: whole(chain=False))


def _qualified(kind: type) -> str:
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def _printable(text: str, limit: int) -> str:
    """TEXT as stderr would show it (surrogates as escapes), its middle left out beyond LIMIT bytes."""
    content = str.encode(text, "utf-8", "backslashreplace")
    if len(content) <= limit:
        return content.decode("utf-8")
    head, tail = content[: limit // 2], content[-limit // 2 :]
    mark = f"\n[... {len(content) - len(head) - len(tail):,} bytes left out ...]\n"
    return head.decode("utf-8", "ignore") + mark + tail.decode("utf-8", "ignore")


def _numbers_of_the_environment() -> dict[str, int]:
    values = {key: os.environ.get(variable, "") for key, variable in _RANKS.items()}
    return {
        key: int(value)
        for key, value in values.items()
        if value.isdecimal() and len(value) < 19  # of 64 bits; int() itself refuses 4 301 digits
    }
