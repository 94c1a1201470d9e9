"""The sidecar index: its format, what survives a kill at any byte, how it stays small."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession._logs import index_file
from procession._logs.index import (
    UNIT,
    Record,
    index_path,
    pack_header,
    pack_records,
    parse,
    thin,
    unpack_records,
    unpack_released,
)
from procession._logs.index_file import GRAIN, IndexWriter, read_index, read_released

SECOND = 1_000_000_000


def records_of(sizes: list[int], gaps: list[int]) -> list[Record]:
    records, end, ns = [], 0, 1000
    for size, gap in zip(sizes, gaps, strict=False):
        ns += gap
        records.append(Record(end, size, ns))
        end += size
    return records


histories = st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 10**12)), max_size=60).map(
    lambda pairs: records_of([a for a, _ in pairs], [b for _, b in pairs])
)


def test_where_it_lies() -> None:
    assert index_path("/runs/a/0/stdout.log") == "/runs/a/0/.stdout.log.index"
    assert index_path("stdout.log") == ".stdout.log.index"


def test_an_index_that_is_known_byte_for_byte() -> None:
    data = pack_header(4096, 5) + pack_records([Record(0, 7, 10), Record(7, 1, 20)])
    assert data.hex(" ", 8) == (
        "8950524349583 10a".replace(" ", "")
        + " 0010000000000000 0500000000000000"
        + " 0000000000000000 0700000000000000 0a00000000000000"
        + " 0700000000000000 0100000000000000 1400000000000000"
    )
    index = parse(data)
    assert index is not None
    assert (index.began_ns, index.released) == (5, 4096)
    assert (list(index.ends), list(index.times)) == ([7, 8], [10, 20])


@given(histories, st.integers(0, 2000))
def test_a_writer_that_was_killed_leaves_a_beginning(records: list[Record], cut: int) -> None:
    data = (pack_header(0, 1) + pack_records(records))[:cut]
    index = parse(data)
    if len(data) < UNIT:
        assert index is None
    else:
        assert index is not None
        whole = records[: len(data) // UNIT - 1]
        assert list(index.ends) == [record.end for record in whole]


@given(histories, st.integers(0, 60), st.integers(3, 40))
def test_a_thinning_that_was_cut_short_still_tells_the_truth(
    records: list[Record], written: int, most: int
) -> None:
    fewer = thin(records, most)
    torn = fewer[:written] + records[min(written, len(fewer)) :]
    index = parse(pack_header(0, 1) + pack_records(torn))
    assert index is not None
    assert index.end == (records[-1].end if records else 0)
    assert_true_of(records, list(index.ends), list(index.times))


@given(histories, st.integers(3, 40))
def test_thinning_keeps_the_truth(records: list[Record], most: int) -> None:
    fewer = thin(records, most)
    assert len(fewer) <= most
    assert fewer == records or len(records) > most
    assert_true_of(records, [record.end for record in fewer], [record.ns for record in fewer])


def assert_true_of(records: list[Record], ends: list[int], times: list[int]) -> None:
    """Each block ends where a record did, at that record's time."""
    known = {record.end: record.ns for record in records}
    for end, ns in zip(ends, times, strict=True):
        assert known[end] == ns
    assert all(one < two for one, two in pairwise(ends))


def test_foreign_and_broken_files_are_no_index() -> None:
    assert parse(b"") is None
    assert parse(b"hello, this is a log of some other kind\n") is None
    index = parse(pack_header(0, 1) + b"\0" * 240)  # what a full disk or a crash leaves
    assert index is not None
    assert index.end == 0
    assert unpack_released(b"nothing of the kind at all, really") == 0


@pytest.mark.parametrize("record", [Record(2**64 - 1, 2**64 - 1, 1), Record(5, 2**63, -(2**63))])
def test_a_record_of_more_than_a_file_can_hold_is_none(record: Record) -> None:
    index = parse(pack_header(0, 1) + pack_records([Record(0, 5, 100), record, Record(5, 5, 200)]))
    assert index is not None
    assert list(index.ends) == [5, 10]


def test_of_a_file_that_has_been_emptied_nothing_is_known_at_once(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    clock.grow(10, 0)
    clock.writer.release(5)
    assert read_released(clock.path) == 5
    clock.writer.restart()
    assert read_released(clock.path) == 0
    index = read_index(clock.path)
    assert index is not None
    assert index.end == 0


def test_a_clock_that_is_set_back_gives_no_descending_times() -> None:
    index = parse(pack_header(0, 1) + pack_records([Record(0, 5, 100), Record(5, 5, 40)]))
    assert index is not None
    assert list(index.times) == [100, 100]


def test_blocks_and_moments() -> None:
    index = parse(
        pack_header(0, 1)
        + pack_records([Record(0, 10, 100), Record(10, 5, 200), Record(15, 5, 300)])
    )
    assert index is not None
    assert list(index.blocks(3, 17)) == [Record(3, 7, 100), Record(10, 5, 200), Record(15, 2, 300)]
    assert list(index.blocks(17, 17)) == []
    assert [index.begin_of(ns) for ns in (0, 100, 101, 200, 301)] == [0, 0, 10, 10, 20]
    assert [index.end_of(ns) for ns in (99, 100, 250, 999)] == [0, 10, 15, 20]


class Clock:
    """A log that is written to at times of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "stdout.log")
        self.writer = IndexWriter(self.path)
        self.end, self.ns = 0, SECOND

    def grow(self, count: int, after: int) -> None:
        self.end += count
        self.ns += after
        self.writer.note(self.end, self.ns)
        self.writer.settle(self.ns)


def test_the_first_record_is_there_at_once_and_others_within_a_second(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    assert os.listdir(tmp_path) == []  # a silent stream has none
    clock.grow(10, 0)
    index = read_index(clock.path)
    assert index is not None
    assert index.end == 10
    clock.grow(10, SECOND // 2)
    assert read_index(clock.path) == index
    clock.writer.settle(clock.ns + SECOND)
    index = read_index(clock.path)
    assert index is not None
    assert list(index.ends) == [10, 20]


def test_amid_a_flood_no_file_is_made_before_a_second_is_over(tmp_path: Path) -> None:
    writer = IndexWriter(str(tmp_path / "stdout.log"))
    writer.note(10, SECOND)
    writer.settle(2 * SECOND - 1, calm=False)
    assert os.listdir(tmp_path) == []
    writer.settle(2 * SECOND, calm=False)
    assert len(os.listdir(tmp_path)) == 1


def test_what_comes_together_is_one_record(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    clock.grow(1, 0)
    for _ in range(8):
        clock.grow(1, GRAIN // 4)
    clock.writer.write()
    index = read_index(clock.path)
    assert index is not None
    assert list(index.ends) == [1, 5, 9]


def test_it_stays_small_and_recent_times_stay_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_file, "MOST", 1000)
    clock = Clock(tmp_path)
    for _ in range(20_000):
        clock.grow(1, 2 * GRAIN)
    clock.writer.write()
    data = Path(index_path(clock.path)).read_bytes()
    assert len(data) <= UNIT * 1100
    index = parse(data)
    assert index is not None
    assert index.end == 20_000
    for age in range(1, 50):  # a block a byte, as it was written
        assert index.begin_of(clock.ns - age * 2 * GRAIN) == 20_000 - age - 1
    for begin, end in pairwise([0, *index.ends]):
        assert end - begin <= 1 + (20_000 - end) / 50  # a block covers 2 % of its age at most


def test_records_that_the_disk_does_not_take_are_written_later(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    clock.grow(1, 0)
    index = Path(index_path(clock.path))
    away = tmp_path / "away"
    index.rename(away)
    for _ in range(500):
        clock.grow(1, SECOND)
    assert len(clock.writer._waiting) <= 128
    away.rename(index)
    clock.writer.write()
    found = read_index(clock.path)
    assert found is not None
    assert (found.end, found.times[-1]) == (501, clock.ns)


def test_released_is_read_by_itself(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    assert read_released(clock.path) == 0
    clock.grow(100_000, 0)
    clock.writer.release(65_536)
    assert read_released(clock.path) == 65_536
    clock.grow(1, SECOND)
    clock.writer.write()
    index = read_index(clock.path)
    assert index is not None
    assert (index.released, index.end) == (65_536, 100_001)


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".log.index")
    assert read_index(str(tmp_path / "log")) is None
    assert read_released(str(tmp_path / "log")) == 0


def test_unpacking_goes_back(tmp_path: Path) -> None:
    records = records_of([3, 4, 5], [1, 1, 1])
    assert unpack_records(pack_header(0, 0) + pack_records(records) + b"torn") == records
