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


def work(
    pace: Pace, file: File, *hours: tuple[float, float, int, int], crowded: bool = True
) -> list[float]:
    """What is said of each rest: seconds passed, seconds of work in them, bytes read, bytes written."""
    worked, now, rests = 1.0, 10.0, []
    pace.begin_stint(worked, now)
    for passed, work, read, written in hours:
        worked, now = worked + work, now + passed
        pace.shown += read
        file.bytes += written
        rests.append(pace.rest([file], worked, now, lambda: crowded))
    return rests


MILLISECOND = (0.001, 0.001, 1000)  # of work without a break, at a byte a microsecond


@pytest.mark.parametrize(
    ("written", "rest"),
    [
        (0, 0.0),  # what is there is read to its end
        (999, 0.001),  # written more slowly than it can be read
        (1001, 0.02),  # faster: the longest rest there is
    ],
)
def test_a_rest_is_for_writers_and_long_for_those_that_are_faster_than_the_view(
    written: int, rest: float
) -> None:
    rests = work(Pace(), File(), (*MILLISECOND, 10**9), (*MILLISECOND, written))
    assert rests == pytest.approx([0.0, rest])  # the first time nothing is known of growth


def test_where_a_processor_is_free_a_flood_is_left_half_of_the_time() -> None:
    hours = [(*MILLISECOND, 0), (*MILLISECOND, 10**9)]
    assert work(Pace(), File(), *hours, crowded=False) == pytest.approx([0.0, 0.001])


def test_a_short_stint_is_worked_out_first() -> None:
    short = (0.0004, 0.0004, 400, 10**6)
    assert work(Pace(), File(), *[short] * 4) == pytest.approx([0.0, 0.0, 0.0, 0.02])


def test_what_is_written_in_a_rest_counts_by_the_time_that_it_took() -> None:
    hours = [(*MILLISECOND, 0), (0.021, 0.001, 1000, 20_000), (0.021, 0.001, 1000, 22_000)]
    assert work(Pace(), File(), *hours) == pytest.approx([0.0, 0.001, 0.02])


def test_a_pause_ends_the_stint() -> None:
    pace, file = Pace(), File()
    pace.begin_stint(1.0, 10.0)
    pace.rest([file], 1.003, 10.003, lambda: True)
    pace.begin_stint(2.0, 20.0)
    file.bytes = 9
    assert pace.rest([file], 2.003, 20.003, lambda: True) == 0.0
