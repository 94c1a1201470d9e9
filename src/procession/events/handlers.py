"""Where events go, by the name of the destination."""

from __future__ import annotations

import logging
import os

from procession._os.append import append_line

__all__ = ["JsonLinesHandler", "get_logging_handler"]

_TO_FILE = "jsonl:"


class JsonLinesHandler(logging.Handler):
    """Appends each event to a file, as one line; several processes may write to the same one.

    Args:
        path: The file, made where it is missing.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = os.path.abspath(path)

    def emit(self, record: logging.LogRecord) -> None:
        """Append the record's text."""
        try:
            append_line(self._path, self.format(record))
        except Exception:  # noqa: BLE001  (as every handler of logging: an event ends no run)
            self.handleError(record)


def get_logging_handler(destination: str = "null") -> logging.Handler:
    """Make what takes the events for a destination.

    Args:
        destination: ``null``, ``console`` (stderr), ``dynamic_rendezvous`` (dropped, as torch does
            unless somebody plugs in a handler), or ``jsonl:PATH``.

    Returns:
        A handler of the standard ``logging``.

    Raises:
        KeyError: There is no such destination.
    """
    if destination.startswith(_TO_FILE):
        return JsonLinesHandler(destination[len(_TO_FILE) :])
    if destination == "console":
        return logging.StreamHandler()
    if destination in {"null", "dynamic_rendezvous"}:
        return logging.NullHandler()
    raise KeyError(f"{destination}: give null, console or jsonl:PATH as the destination of events")
