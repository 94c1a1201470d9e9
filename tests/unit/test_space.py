"""When space is little, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from procession._logs import space as space_module
from procession._logs.books import Book
from procession._logs.sinks import Nowhere
from procession._logs.space import Alarm, Space, SpaceWatch, smoothed
from procession._os.holes import cannot_punch

GIB = 2**30


@pytest.mark.parametrize(
    ("free", "total", "rate", "expected"),
    [
        (500 * GIB, 1000 * GIB, 0, Alarm.NONE),
        (20 * GIB, 10_000 * GIB, 0, Alarm.NONE),  # a small part, but plenty
        (9 * GIB, 100 * GIB, 0, Alarm.NONE),
        (4 * GIB, 100 * GIB, 0, Alarm.LOW),
        (GIB // 2, 100 * GIB, 0, Alarm.URGENT),
        (500 * GIB, 1000 * GIB, 2 * GIB, Alarm.LOW),  # 250 s
        (500 * GIB, 1000 * GIB, 20 * GIB, Alarm.URGENT),  # 25 s
        (0, 1000 * GIB, 0, Alarm.FULL),
        (2**20, 2**21, 1000, Alarm.NONE),  # a small file system is no alarm by itself
    ],
)
def test_how_bad_it_is(free: int, total: int, rate: float, expected: Alarm) -> None:
    assert Space(free, total, rate).alarm() is expected


def test_words() -> None:
    assert Space(3 * GIB, 100 * GIB).words("/logs") == "3.0 GiB left for logs in /logs"
    assert Space(3 * GIB, 100 * GIB, 2**20 * 50).words("/logs") == (
        "3.0 GiB left for logs in /logs, enough for 61 s at 50 MiB/s"
    )
    assert Space(0, 100).words("/logs").startswith("the disk under /logs is full")


def test_the_rate_follows_what_is_written() -> None:
    assert smoothed(0.0, 100, 0) == 0.0
    assert smoothed(0.0, 500, 5.0) == pytest.approx(50.0)  # half, after one half-life of 5 s
    assert smoothed(100.0, 0, 5.0) == pytest.approx(50.0)
    rate = 0.0
    for _ in range(100):
        rate = smoothed(rate, 7, 1.0)
    assert rate == pytest.approx(7.0, rel=0.001)


class Disk:
    """A file system whose state the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free, self.looks, self.now = 50 * 2**20, 0, 0.0
        self.said: list[str] = []
        monkeypatch.setattr(space_module, "measure", self.measure)
        monkeypatch.setattr("procession._logs.space.time.monotonic", lambda: self.now)
        self.watch = SpaceWatch("/logs", self.said.append)

    def measure(self, _directory: str) -> Space:
        self.looks += 1
        return Space(self.free, 100 * 2**20)

    def write(self, count: int, after: float) -> None:
        self.now += after
        self.free -= count
        self.watch.note(count)
        self.watch.look(self.now)


def test_nothing_is_asked_while_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    for now in range(100):
        disk.watch.look(float(now))
    assert disk.looks == 1
    for _ in range(100):
        disk.write(1, 0.1)
    assert 9 <= disk.looks <= 12


def test_a_fast_writer_is_looked_at_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    for _ in range(49):
        disk.write(2**20, 0.001)
    assert len(disk.said) == 1  # within 50 ms of nothing to nearly full
    assert "enough for" in disk.said[0]


def test_each_alarm_is_said_once_until_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    disk.free = 4 * 2**20
    for _ in range(10):
        disk.write(1, 2.0)
    assert disk.said == ["4 MiB left for logs in /logs"]
    disk.free = 2**19
    disk.write(1, 2.0)
    disk.free = 0
    disk.write(1, 2.0)
    assert len(disk.said) == 3
    disk.free = 4 * 2**20  # a little more room is no news
    disk.write(1, 2.0)
    assert len(disk.said) == 3
    disk.free = 50 * 2**20
    disk.write(1, 2.0)
    disk.free = 4 * 2**20
    disk.write(1, 2.0)
    assert len(disk.said) == 4


def test_what_is_given_back_does_not_fill_the_disk(tmp_path: Path) -> None:
    """A log that stays below its limit is no reason to warn, however much is written to it."""

    class Sum(SpaceWatch):
        noted = 0

        def note(self, count: int) -> None:
            self.noted += count

    if reason := cannot_punch(str(tmp_path)):
        pytest.skip(reason)
    space, log = Sum(str(tmp_path), print), tmp_path / "log"
    log.touch()
    book = Book(str(log), Nowhere(), 2**20, space)
    try:
        assert book.open()
        with log.open("ab", buffering=0) as file:
            for _ in range(100):
                file.write(b"x" * 99_999 + b"\n")
                book.advance()
    finally:
        book.close()
    assert 0 < space.noted <= 2**20 + 200_000


def test_a_file_system_that_does_not_say_is_no_alarm(tmp_path: Path) -> None:
    assert space_module.measure(str(tmp_path / "nowhere")) is None
    said: list[str] = []
    watch = SpaceWatch(str(tmp_path / "nowhere"), said.append)
    watch.note(10**9)
    watch.look(1e18)
    assert said == []
