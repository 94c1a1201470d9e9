"""The sidecar index of a stream's file: by when its bytes were there, and which are there no more.

Little-endian units of 24 bytes, a header and then records, described for others in docs/logs.md::

    header  magic (8 bytes)   released (u64, bytes)   began (i64, wall-clock ns)
    record  offset (u64)      length (u64, bytes)     seen (i64, wall-clock ns)

All of a record's bytes had been written by its time, and none before the time of the record before.
That stays true when neighbours are put together, which is how an index stays small. Pure.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"\x89PRCIX1\n"  # the first byte is no text, the last tells of a translated line end
_HEADER = Struct("<8sQq")
_RECORD = Struct("<QQq")
UNIT = _RECORD.size
_FINEST = 2.0**-14  # of a block's age, a quarter of a second for an hour
_LONGEST = 2**63 - 1  # bytes of a file (off_t)
RELEASED_AT = len(MAGIC)  # where in the file the header says how much has been released
_RELEASED = Struct("<Q")


def index_path(path: str) -> str:
    """Where the index of the file ``path`` lies: beside it, where ``ls`` and ``*`` do not show it."""
    directory, slash, name = path.rpartition("/")
    return f"{directory}{slash}.{name}.index"


class Record(NamedTuple):
    """A block of bytes and by when they were there.

    Attributes:
        offset: Of its first byte in the stream's file.
        length: In bytes, 1 or more.
        ns: Wall-clock ns, when the last of them was seen.
    """

    offset: int
    length: int
    ns: int

    @property
    def end(self) -> int:
        """The offset behind its last byte."""
        return self.offset + self.length

    def with_next(self, other: Record) -> Record:
        """This block and the one behind it as one."""
        return Record(self.offset, other.end - self.offset, other.ns)


class Index(NamedTuple):
    """What an index says.

    Attributes:
        began_ns: When somebody began to look; nothing is known of what was written before.
        released: The offset before which the file's bytes have been given back to the disk.
        ends: The offset behind each block, ascending; a block begins where the one before ends.
        times: By when each block was there, ascending.
    """

    began_ns: int
    released: int
    ends: array[int]
    times: array[int]

    @property
    def end(self) -> int:
        """The offset behind the last byte that it knows of."""
        return self.ends[-1] if self.ends else 0

    def begin_of(self, ns: int) -> int:
        """The offset of the first block that was seen at ``ns`` or later; `end` if none was."""
        found = bisect_left(self.times, ns)
        return self.ends[found - 1] if found else 0

    def end_of(self, ns: int) -> int:
        """The offset behind the last block that was seen at ``ns`` or before; 0 if none was."""
        found = bisect_right(self.times, ns)
        return self.ends[found - 1] if found else 0

    def blocks(self, start: int, end: int) -> Iterator[Record]:
        """The blocks of a part of the file, the first and the last cut to fit."""
        for found in range(bisect_right(self.ends, start), len(self.ends)):
            stop = min(self.ends[found], end)
            if start >= stop:
                return
            yield Record(start, stop - start, self.times[found])
            start = stop


def pack_header(released: int, began_ns: int) -> bytes:
    """The first unit of an index."""
    return _HEADER.pack(MAGIC, released, began_ns)


def pack_released(released: int) -> bytes:
    """What stands at `RELEASED_AT`."""
    return _RELEASED.pack(released)


def pack_records(records: list[Record]) -> bytes:
    """Records as they stand in the file."""
    return b"".join([_RECORD.pack(*record) for record in records])


def unpack_released(data: bytes) -> int:
    """How much has been released, from a header that may be torn or another file's: then nothing."""
    if len(data) < RELEASED_AT + _RELEASED.size or not data.startswith(MAGIC):
        return 0
    released: int = _RELEASED.unpack_from(data, RELEASED_AT)[0]
    return released


def unpack_records(data: bytes) -> list[Record]:
    """The records behind a header, without a torn last one and what follows a unit of zeros."""
    whole = len(data) // UNIT * UNIT
    records: list[Record] = []
    for record in _RECORD.iter_unpack(data[UNIT:whole]):
        if not record[1]:  # the disk was full, or the power went
            break
        records.append(Record(*record))
    return records


def parse(data: bytes) -> Index | None:
    """Read an index, also one whose writer was killed at any byte of its work.

    Records that repeat what stands before them (a thinning that was cut short) are passed over, and
    a gap is the next record's.

    Args:
        data: The file's content.

    Returns:
        What it says; None if it is no index.
    """
    if len(data) < UNIT or not data.startswith(MAGIC):
        return None
    _, released, began_ns = _HEADER.unpack_from(data)
    ends, times = array("Q"), array("q")
    end = latest = 0
    for record in unpack_records(data):
        if end < record.end <= _LONGEST:
            end, latest = record.end, max(latest, record.ns)  # a clock that was set back
            ends.append(end)
            times.append(latest)
    return Index(began_ns, released, ends, times)


def thin(records: list[Record], most: int) -> list[Record]:
    """Put neighbours together until few enough are left.

    The older a block, the less its time matters: what one block covers of time stays a fraction of
    its age, the same for all, as small as it can be.

    Args:
        records: One or more, ascending.
        most: How many may be left, 3 or more: the first and the newest stay as they are.
    """
    fraction = _FINEST
    while len(records) > most:
        records = _coarser(records, fraction)
        fraction *= 2
    return records


def _coarser(records: list[Record], fraction: float) -> list[Record]:
    newest = records[-1].ns
    fewer, since = records[:2], records[0].ns  # the first stays: nobody knows what time it covers
    for record in records[2:]:
        covered = record.ns - since
        if record.ns == fewer[-1].ns or covered <= (newest - record.ns) * fraction:
            fewer[-1] = fewer[-1].with_next(record)
        else:
            since = fewer[-1].ns
            fewer.append(record)
    return fewer
