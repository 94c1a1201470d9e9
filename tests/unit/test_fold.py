"""Lines that several ranks print at one time, shown once."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession._logs.fold import DELAY, Fold
from procession._logs.look import coloured, many, wanted_colour

PRINTED = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([b"a\n", b"b\n", b"c\n"])))


def folded(fold: Fold, now: float) -> list[tuple[bytes, list[int]]]:
    return [(each.line, each.ranks) for each in fold.take(now)]


def test_a_line_of_all_ranks_is_shown_at_once() -> None:
    fold = Fold(2)
    fold.add(0, b"x\n", 1.0)
    assert (fold.due(), folded(fold, 1.0)) == (1.0 + DELAY, [])
    fold.add(1, b"x\n", 1.1)
    assert (fold.due(), folded(fold, 1.1)) == (0.0, [(b"x\n", [0, 1])])
    assert fold.due() == float("inf")


def test_a_line_of_one_rank_waits_no_longer_than_the_delay() -> None:
    fold = Fold(2)
    fold.add(0, b"x\n", 1.0)
    assert folded(fold, 1.0 + DELAY) == [(b"x\n", [0])]


def test_a_rank_that_prints_a_line_twice_is_shown_twice() -> None:
    fold = Fold(2)
    for rank in (0, 0, 1, 1):
        fold.add(rank, b"x\n", 1.0)
    assert folded(fold, 1.0) == [(b"x\n", [0, 1]), (b"x\n", [0, 1])]


def test_no_rank_gets_ahead_of_itself() -> None:
    fold = Fold(2)
    for rank, line in ((0, b"a\n"), (0, b"b\n"), (1, b"b\n"), (1, b"a\n")):
        fold.add(rank, line, 1.0)
    assert folded(fold, 9.0) == [(b"a\n", [0]), (b"b\n", [0, 1]), (b"a\n", [1])]


def test_what_waits_is_bounded() -> None:
    fold = Fold(2)
    for n in range(30_000):
        fold.add(0, b"%d\n" % n, 1.0)
    assert len(fold.take(1.0)) == 20_000


@given(PRINTED)
def test_every_rank_is_shown_its_own_lines_in_order(printed: list[tuple[int, bytes]]) -> None:
    fold, written, seen = Fold(4), defaultdict(list), defaultdict(list)
    for n, (rank, line) in enumerate(printed):
        fold.add(rank, line, n / 10)
        written[rank].append(line)
        for each in fold.take(n / 10):
            for who in each.ranks:
                seen[who].append(each.line)
    for each in fold.take(float("inf")):
        for who in each.ranks:
            seen[who].append(each.line)
    assert seen == written


@pytest.mark.parametrize(
    ("ranks", "head"),
    [([0, 1, 2], b"[0-2] (3x):"), ([6, 0, 1], b"[0-1,6] (3x):"), ([4, 2], b"[2,4] (2x):")],
)
def test_the_head_of_many(ranks: list[int], head: bytes) -> None:
    assert many(ranks) == head


@pytest.mark.parametrize(
    ("environ", "colour"),
    [
        ({}, None),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, None),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "0"}, None),
        ({"CLICOLOR_FORCE": "1"}, True),
        ({"CLICOLOR": "0"}, False),
        ({"CLICOLOR": "0", "FORCE_COLOR": "3"}, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_colours_by_the_environment(environ: dict[str, str], colour: bool | None) -> None:
    assert wanted_colour(environ) is colour


def test_a_coloured_prefix_leaves_no_colour_on() -> None:
    assert coloured(b"[0]:", 0) == b"\x1b[36m[0]:\x1b[0m"
    assert coloured(b"", 0) == b""
