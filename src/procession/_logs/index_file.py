"""The index of one stream's file on disk: written by one, read by anybody at any time."""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress

from procession._logs.index import (
    RELEASED_AT,
    UNIT,
    Index,
    Record,
    index_path,
    pack_header,
    pack_records,
    pack_released,
    parse,
    thin,
    unpack_records,
    unpack_released,
)

GRAIN = 10_000_000  # ns: what is seen within so long of a record's first byte becomes part of it
_PATIENCE = 1_000_000_000  # ns that a record waits in memory for others
_GATHERED = 64  # records that wait at most
MOST = 32_768  # records in a file: 768 KiB
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class IndexWriter:
    """Writes the index of the file ``path``.

    There is no file before there is a first record, and none of its descriptors stays open: a
    thousand streams are no reason to run out of them. A disk that is full keeps records waiting,
    put together so that they do not become many.
    """

    def __init__(self, path: str) -> None:
        self._path = index_path(path)
        self._header = pack_header(0, time.time_ns())
        self._waiting: list[Record] = []
        self._begun_ns = 0  # when the last of those was begun
        self._end = 0
        self._written = 0
        self._made = False

    @property
    def waits(self) -> bool:
        """True while records are not on the disk yet."""
        return bool(self._waiting)

    def note(self, end: int, ns: int) -> None:
        """Take note that the file reaches to ``end``.

        Args:
            end: Beyond what it was the last time.
            ns: Wall-clock ns.
        """
        record = Record(self._end, end - self._end, ns)
        self._end = end
        if self._waiting and 0 <= ns - self._begun_ns < GRAIN:
            self._waiting[-1] = self._waiting[-1].with_next(record)
            return
        self._waiting.append(record)
        self._begun_ns = ns
        if len(self._waiting) >= _GATHERED:
            self.write()

    def settle(self, ns: int, *, calm: bool = True) -> None:
        """Write what has waited for long enough.

        Args:
            ns: The time, wall-clock.
            calm: There is time to make a file: who looks for the index then finds one, however early.
        """
        first = calm and not self._made
        if self._waiting and (first or not 0 <= ns - self._waiting[0].ns < _PATIENCE):
            self.write()

    def write(self) -> None:
        """Write what waits, as far as the disk takes it."""
        if not self._waiting:
            return
        try:
            fd = self._open()
            try:
                self._append(fd)
            finally:
                os.close(fd)
        except OSError:  # the disk is full, the directory is gone: the logs go on without
            if len(self._waiting) >= _GATHERED:
                self._waiting = thin(self._waiting, _GATHERED // 2)

    def restart(self) -> None:
        """The file has been emptied: begin anew, and on the disk too, if anything is there."""
        self._waiting.clear()
        self._end = self._written = 0
        if self._made:
            self._made = False
            with suppress(OSError):
                os.close(self._open())

    def release(self, offset: int) -> None:
        """Say that the file's bytes before ``offset`` are no more; said before it is done.

        Raises:
            OSError: It cannot be said, so it must not be done.
        """
        fd = self._open()
        try:
            os.pwrite(fd, pack_released(offset), RELEASED_AT)
        finally:
            os.close(fd)

    def _open(self) -> int:
        if self._made:
            return os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            os.pwrite(fd, self._header, 0)
        except OSError:
            os.close(fd)
            raise
        self._made = True
        return fd

    def _append(self, fd: int) -> None:
        # At its place, not at the end: a record that the disk took a part of is written again.
        data = pack_records(self._waiting)
        taken = os.pwrite(fd, data, UNIT * (1 + self._written)) // UNIT
        self._written += taken
        del self._waiting[:taken]
        if self._written > MOST:
            self._thin(fd)

    def _thin(self, fd: int) -> None:
        """Make room, in place: readers and a kill find a prefix of the new before a rest of the old."""
        data = os.pread(fd, UNIT * (1 + self._written), 0)
        fewer = thin(unpack_records(data), MOST * 3 // 4)
        os.pwrite(fd, pack_records(fewer), UNIT)
        self._written = len(fewer)
        os.ftruncate(fd, UNIT * (1 + self._written))


def read_index(path: str) -> Index | None:
    """Read the index of the file ``path``; None if it has none that can be read."""
    data = _read(index_path(path), -1)
    return None if data is None else parse(data)


def read_released(path: str) -> int:
    """How many of the first bytes of the file ``path`` have been released by now."""
    data = _read(index_path(path), UNIT)
    return 0 if data is None else unpack_released(data)


def _read(path: str, count: int) -> bytes | None:
    """The first ``count`` bytes of a regular file, all if negative; None where that cannot be."""
    try:
        fd = os.open(path, _READ)
    except OSError:
        return None
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            return None
        return os.pread(fd, facts.st_size if count < 0 else count, 0)
    except OSError:
        return None
    finally:
        os.close(fd)
