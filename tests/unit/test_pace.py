"""When the tail leaves the machine to the workers."""

from __future__ import annotations

import pytest

from procession._logs.pace import Pace


class File:
    def __init__(self) -> None:
        self.bytes = 0

    def size(self) -> int:
        return self.bytes


@pytest.mark.parametrize(
    ("reads", "seconds", "load"),
    [(64, 0.001, True), (64, 1.0, False), (63, 0.001, False), (1000, 0.1, True)],
)
def test_load_is_many_reads_in_little_time(reads: int, seconds: float, load: bool) -> None:
    pace = Pace()
    pace.is_load(64, 10.0)
    assert pace.is_load(reads, 10.0 + seconds) is load


def test_reads_add_up_to_load() -> None:
    pace = Pace()
    pace.is_load(64, 10.0)
    assert [pace.is_load(1, 10.0 + n * 1e-5) for n in range(64)] == [False] * 63 + [True]


def test_a_flood_is_left_the_machine_and_what_was_written_before_is_not() -> None:
    pace, file = Pace(), File()
    pace.begin_stint(1.0)
    rests = []
    for now, grows in ((1.001, True), (1.003, True), (1.006, True), (1.1, True), (1.2, False)):
        file.bytes += grows
        rests.append(pace.rest([file], now))
    # Too early to tell; told nothing yet; a flood, twice; it has ended.
    assert rests == pytest.approx([0.0, 0.0, 0.006, 0.02, 0.0])


def test_a_pause_ends_the_stint() -> None:
    pace, file = Pace(), File()
    pace.begin_stint(1.0)
    pace.rest([file], 1.003)
    pace.begin_stint(2.0)
    file.bytes = 9
    assert pace.rest([file], 2.003) == 0.0
