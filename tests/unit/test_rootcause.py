"""Which death is the cause: a table of histories, and what holds for every one of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession._report.rootcause import (
    CLOSING_NS,
    Death,
    causes_first,
    failure_time_ns,
    judge,
)

SIGTERM, SIGSEGV = -15, -11


def death(
    rank: int,
    died: int,
    exitcode: int = 1,
    *,
    raised: int | None = None,
    doomed: bool = False,
) -> Death:
    return Death(rank, 1000 + rank, exitcode, False, died, raised, doomed)


HISTORIES = {
    "one failure, no signal sent": ([death(0, 10)], None, [0], []),
    "nobody failed": ([death(0, 10, 0), death(1, 11, 0)], None, [], []),
    "the peers were stopped": (
        [death(2, 10, SIGSEGV), death(0, 20, SIGTERM), death(1, 21, SIGTERM)],
        12,
        [2],
        [0, 1],
    ),
    "a peer told to stop leaves with a code of its own": (
        [death(1, 10), death(0, 20, 3)],
        12,
        [1],
        [0],
    ),
    "a peer told to stop leaves with 0": ([death(1, 10), death(0, 20, 0)], 12, [1], []),
    "the higher rank died first, 5 ms ahead": ([death(1, 10), death(0, 15)], 16, [1, 0], []),
    "one wakeup, one stamp: the order of readiness": ([death(7, 10), death(0, 10)], 11, [7, 0], []),
    "raised first, died last, after our signal": (
        [death(3, 10, raised=9), death(0, 30, raised=2, doomed=True)],
        12,
        [0, 3],
        [],
    ),
    "doomed, and our signal finished it": (
        [death(1, 10), death(0, 20, SIGTERM, raised=8, doomed=True)],
        12,
        [0, 1],
        [],
    ),
    "exiting at the signal, without an error file": (
        [death(1, 10), death(0, 20, SIGTERM, doomed=True)],
        12,
        [1, 0],
        [],
    ),
    "raised before our signal, which came before its word of it": (
        [death(1, 10), death(0, 20, SIGTERM, raised=11)],
        12,
        [1, 0],
        [],
    ),
    "raised first, and our signal came before its word of it": (
        [death(1, 10, raised=9), death(0, 20, SIGTERM, raised=8)],
        12,
        [0, 1],
        [],
    ),
    "its error file is of after our signal": (
        [death(1, 10), death(0, 20, 1, raised=15)],
        12,
        [1],
        [0],
    ),
    "a stamp from after its death is not believed": (
        [death(0, 10, raised=9), death(1, 12, raised=13)],
        14,
        [0, 1],
        [],
    ),
    "a stamp of 0 is not believed": (
        [death(0, 10, raised=9), death(1, 12, raised=0)],
        14,
        [0, 1],
        [],
    ),
    "seen dead at the moment of our signal: not ours": ([death(0, 12), death(1, 13)], 12, [0], [1]),
    "we ended all (a signal to the launcher)": (
        [death(0, 10, SIGTERM), death(1, 11, 1)],
        5,
        [],
        [0, 1],
    ),
}


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_history(history: tuple[list[Death], int | None, list[int], list[int]]) -> None:
    deaths, first_signal_ns, failures, stopped = history
    verdict = judge(deaths, first_signal_ns)
    assert [d.local_rank for d in verdict.failures] == failures
    assert [d.local_rank for d in verdict.stopped] == stopped


TIMES = st.integers(min_value=1, max_value=30)
DEATHS = st.lists(
    st.builds(
        death,
        st.integers(0, 500),
        TIMES,
        st.sampled_from([0, 1, 3, SIGTERM, SIGSEGV]),
        raised=st.none() | st.integers(-5, 40),
        doomed=st.booleans(),
    ),
    max_size=12,
    unique_by=lambda d: d.local_rank,
)


@given(DEATHS, st.none() | TIMES)
def test_every_bad_death_is_told_once_and_no_good_one(
    deaths: list[Death], first: int | None
) -> None:
    verdict = judge(deaths, first)
    told = sorted(d.local_rank for d in (*verdict.failures, *verdict.stopped))
    assert told == sorted(d.local_rank for d in deaths if d.exitcode != 0)


@given(DEATHS, st.none() | TIMES)
def test_who_died_before_our_signal_or_was_doomed_is_never_called_stopped(
    deaths: list[Death], first: int | None
) -> None:
    stopped = judge(deaths, first).stopped
    assert all(first is not None and d.died_ns > first and not d.doomed for d in stopped)


@given(DEATHS, st.none() | TIMES)
def test_failures_are_in_order_of_time_and_ties_in_the_order_given(
    deaths: list[Death], first: int | None
) -> None:
    failures = judge(deaths, first).failures
    keys = [(failure_time_ns(d), deaths.index(d)) for d in failures]
    assert keys == sorted(keys)


@given(DEATHS, st.none() | TIMES, st.permutations(range(501)))
def test_rank_numbers_do_not_matter(
    deaths: list[Death], first: int | None, names: list[int]
) -> None:
    renamed = [d._replace(local_rank=names[d.local_rank]) for d in deaths]
    before, after = judge(deaths, first), judge(renamed, first)
    assert [names[d.local_rank] for d in before.failures] == [d.local_rank for d in after.failures]
    assert [names[d.local_rank] for d in before.stopped] == [d.local_rank for d in after.stopped]


@given(DEATHS, TIMES)
def test_a_later_first_signal_only_clears_us(deaths: list[Death], first: int) -> None:
    earlier, later = judge(deaths, first), judge(deaths, first + 1)
    assert set(earlier.failures) <= set(later.failures)
    assert set(judge(deaths, None).failures) >= set(later.failures)


@given(DEATHS)
def test_a_failure_is_never_dated_after_the_death(deaths: list[Death]) -> None:
    assert all(0 < failure_time_ns(d) <= d.died_ns for d in deaths)


SIGKILL = -9
LATE = CLOSING_NS


@pytest.mark.parametrize(
    ("failures", "missing", "order"),
    [
        ([], [], []),
        # Rank 0 was killed; rank 1 missed it and raised before the kernel had told of the death.
        ([death(1, 30, raised=10), death(0, 12, SIGKILL)], [1], [0, 1]),
        ([death(2, 9, 1), death(1, 30, raised=10), death(0, 12, SIGSEGV)], [1, 2], [0, 2, 1]),
        # It was killed long after, or had raised itself, or also misses somebody, or nobody misses it.
        ([death(1, 30, raised=10), death(0, 11 + LATE, SIGKILL)], [1], [1, 0]),
        ([death(1, 30, raised=10), death(0, 40, SIGKILL, raised=11)], [1], [1, 0]),
        ([death(1, 30, raised=10), death(0, 12, -6)], [0, 1], [1, 0]),
        ([death(1, 30, raised=10), death(0, 12, SIGKILL)], [], [1, 0]),
        ([death(1, 30, raised=10), death(0, 12, 3)], [1], [1, 0]),
        # Of several the first.
        ([death(3, 8), death(1, 9, SIGKILL), death(2, 9, SIGKILL)], [3], [1, 3, 2]),
    ],
)
def test_who_was_killed_comes_before_who_missed_it(
    failures: list[Death], missing: list[int], order: list[int]
) -> None:
    judged = causes_first(tuple(failures), missing)
    assert [each.local_rank for each in judged] == order
    times = [failure_time_ns(each) for each in judged]
    assert min(times, default=0) == (
        times[0] if times else 0
    )  # who takes the least finds the cause
