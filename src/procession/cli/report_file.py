"""``report.json``, written whole or not at all, and also where the disk is full by then."""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from typing import Any

from procession._report.document import shortened
from procession.cli.say import say

_ROOM = 64 * 1024  # bytes; a report with the tracebacks of a dozen ranks is half of it
_LONGEST_TEXT = 400  # characters of each text, where the whole does not fit
_MOST_ITEMS = 8  # of each list, likewise


class ReportFile:
    """The report of a run, from its beginning.

    A hidden file beside it holds blocks of the disk for it until the end. Where they cannot be had,
    or a file system sets none aside, there is no harm.

    Args:
        path: Where it is to be.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        directory, name = os.path.split(path)
        self._room = os.path.join(directory, f".{name}.room")
        with suppress(OSError, AttributeError):  # macOS has no posix_fallocate
            fd = os.open(self._room, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, _ROOM)
            finally:
                os.close(fd)

    def write(self, document: dict[str, Any]) -> None:
        """Replace what the file says; a failure is said, and leaves what it said before."""
        data = encoded(document)
        fresh = f"{self._path}.{os.getpid()}"
        try:
            try:
                _write(fresh, data, os.O_CREAT)
                os.replace(fresh, self._path)
            except OSError:
                _unlink(fresh)
                if document.get("state") == "running":  # the room is for the end
                    raise
                self._write_in_room(document, data)
        except OSError as error:
            say(f"{self._path} could not be written: {error.strerror}")

    def close(self) -> None:
        """Give back the blocks that were held."""
        _unlink(self._room)

    def _write_in_room(self, document: dict[str, Any], data: bytes) -> None:
        _write(
            self._room,
            data
            if len(data) <= _ROOM
            else encoded(shortened(document, _LONGEST_TEXT, _MOST_ITEMS)),
            0,
        )
        os.replace(self._room, self._path)


def _write(path: str, data: bytes, how: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | how, 0o666)
    try:
        if os.pwrite(fd, data, 0) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.ftruncate(fd, len(data))
    finally:
        os.close(fd)


def _unlink(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


def encoded(document: dict[str, Any]) -> bytes:
    """A document as it stands in a file. Pure."""
    return f"{json.dumps(document, indent=1)}\n".encode()
