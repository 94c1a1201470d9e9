"""Reading a worker's error.json, whatever is in it.

The file is written by another process, in any language, up to the moment it died, and may be torn,
huge, foreign or hostile. Nothing in it makes the reader raise; what is wrong with it is a fact for
the report.

Two layouts are known, both torch's: ``{"message": str, "timestamp": seconds}`` and
``{"message": {"message": str, "extraInfo": {"py_callstack": str, "timestamp": seconds}}}``. Beside
the timestamp may stand ``timestamp_ns`` (wall clock), ``monotonic_ns`` and ``exception_type``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from procession._report.files import NotARegularFileError, regular_file

if TYPE_CHECKING:
    from json import JSONDecodeError

NONE = "<NONE>"
"""torch's message of a failure without an error file."""

LIMIT = 8 << 20
"""Bytes. A traceback with a large tensor's repr stays below a MiB."""

DEPTH = 64
"""Levels. Deeper data parses, but cannot be pickled or printed on every Python."""

_SECOND = 10**9
_SAME_WRITE_NS = 3 * _SECOND


class ErrorRecord(NamedTuple):
    """What an error file says.

    Attributes:
        data: The file's JSON object, ``{"message": "<NONE>"}`` where it cannot be used.
        message: Its "message".
        traceback: The traceback's text.
        exception_type: The name of the exception's class.
        timestamp_ns: Wall-clock ns of the failure.
        monotonic_ns: CLOCK_MONOTONIC ns of the failure on the worker's host.
        problem: What is wrong with the file, to be read after "error.json is"; None if nothing.
        uncaught: The worker says that this ended it; else it may have dealt with the exception.
    """

    data: dict[str, Any]
    message: str | dict[str, Any]
    traceback: str | None = None
    exception_type: str | None = None
    timestamp_ns: int | None = None
    monotonic_ns: int | None = None
    problem: str | None = None
    uncaught: bool = False


class OwnEnd(NamedTuple):
    """The beginning of a worker's end, by its own word.

    Attributes:
        monotonic_ns: CLOCK_MONOTONIC ns of the worker's host, 0 where it is not told.
        status: The exit status that it was about to end with.
    """

    monotonic_ns: int
    status: int


class _UnusableError(Exception):
    """The file holds no error record; the message says why."""


def read_error_file(path: str) -> ErrorRecord | None:
    """What the worker said of its failure.

    Args:
        path: Where its error file would be.

    Returns:
        The record, with `problem` set where there is a file and it cannot be used. None where there
        is none: no such file, an empty path, a directory, /dev/null.
    """
    if path == os.devnull:
        return None
    try:
        text, mtime_ns = _read(path)
        return interpret(_parse(text), mtime_ns)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except _UnusableError as error:
        return _unusable(str(error))
    except (OSError, ValueError) as error:
        return _unusable(f"unreadable: {getattr(error, 'strerror', None) or error}")


def own_end(path: str) -> OwnEnd | None:
    """What a worker says of the beginning of its own end: an uncaught exception, or a status.

    Args:
        path: Where its error file would be.

    Returns:
        What it says; None where it says nothing of the kind.
    """
    record = read_error_file(path) if _is_there(path) else None
    if record is not None and record.uncaught:
        return OwnEnd(record.monotonic_ns or 0, 1)
    if not _is_there(f"{path}.exit"):
        return None
    try:
        with regular_file(f"{path}.exit") as file:
            words = file.read(0, 64).decode("ascii", "replace").split()
    except (OSError, ValueError):
        return None
    ns, status = (*map(_whole, words), None, None)[:2]
    return OwnEnd(ns, status) if ns and ns > 0 and status and 0 < status < 256 else None


def _is_there(path: str) -> bool:
    """Ask for a file that hardly ever is, at a tenth of the price of an open that fails.

    All living workers are asked about while they wait for the first signal.
    """
    return "\0" not in path and os.access(path, os.F_OK)


def interpret(data: dict[str, Any], mtime_ns: int | None = None) -> ErrorRecord:
    """The record in an error file's JSON object.

    Args:
        data: The object.
        mtime_ns: The file's time of last write, which has the digits that whole seconds lack.
    """
    message = data.get("message")
    if not isinstance(message, (str, dict)):
        return _unusable("without a message")
    extra = data if isinstance(message, str) else message.get("extraInfo")
    extra = extra if isinstance(extra, dict) else {}
    if not (isinstance(message, str) or summary(message) or _text(extra.get("py_callstack"))):
        return _unusable("without a message")
    return ErrorRecord(
        data=data,
        message=message,
        traceback=_text(extra.get("py_callstack")),
        exception_type=_text(extra.get("exception_type")),
        timestamp_ns=_wall_ns(extra, mtime_ns),
        monotonic_ns=_ns(extra.get("monotonic_ns")),
        uncaught=extra.get("uncaught") is True,
    )


def summary(message: str | dict[str, Any]) -> str:
    """A message in words, "" where it has none."""
    return message if isinstance(message, str) else _text(message.get("message")) or ""


def _unusable(problem: str) -> ErrorRecord:
    return ErrorRecord(data={"message": NONE}, message=NONE, problem=problem)


def _read(path: str) -> tuple[str, int]:
    """The file's text and its time of last write."""
    try:
        with regular_file(path) as file:
            if file.size > LIMIT:
                raise _UnusableError(f"too large ({file.size / 2**20:.1f} MiB)")
            return file.read(0, LIMIT).decode("utf-8-sig", "replace").strip(), file.mtime_ns
    except NotARegularFileError:
        raise _UnusableError("not a regular file") from None


def _parse(text: str) -> dict[str, Any]:
    if not text:
        raise _UnusableError("empty")
    import json  # read in the rare case of a failure

    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise _UnusableError(
            "torn" if _ends_inside(text, error) else f"not JSON: {error}"
        ) from None
    except (RecursionError, MemoryError):
        raise _UnusableError("nested too deep") from None
    except ValueError as error:  # an integer of thousands of digits
        raise _UnusableError(f"not JSON: {error}") from None
    if not isinstance(data, dict):
        raise _UnusableError("not an object")
    if _deeper_than(DEPTH, data):
        raise _UnusableError("nested too deep")
    return data


def _ends_inside(text: str, error: JSONDecodeError) -> bool:
    """True for the beginning of an object: its writer was killed, or the disk was full."""
    if not text.startswith("{"):
        return False
    in_string = error.msg.startswith("Unterminated string")
    return in_string or error.pos >= len(text) or not text.endswith("}")


def _deeper_than(limit: int, value: object) -> bool:
    level = [value]
    for _ in range(limit):
        level = [child for item in level for child in _children(item)]
        if not level:
            return False
    return True


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _wall_ns(extra: dict[str, Any], mtime_ns: int | None) -> int | None:
    exact = _ns(extra.get("timestamp_ns"))
    if exact is not None:
        return exact
    seconds = _whole(extra.get("timestamp"))
    rough = None if seconds is None else _ns(seconds * _SECOND)
    if rough is not None and mtime_ns is not None and abs(mtime_ns - rough) <= _SAME_WRITE_NS:
        return mtime_ns
    return rough


def _ns(value: object) -> int | None:
    """A time in ns that fits the kernel's 64 bits."""
    whole = _whole(value)
    return whole if whole is not None and 0 < whole < 2**63 else None


def _whole(value: object) -> int | None:
    """A number, written as JSON's number or as text; torch writes text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return int(value)
    except (ValueError, OverflowError):
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
