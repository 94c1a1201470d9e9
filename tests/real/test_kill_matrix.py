"""A sample of the kill matrix (tests/stress), and the matrix itself as data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM

import pytest
from tests.stress.matrix import (
    ENTRIES,
    GOES_ON,
    ISOLATIONS,
    KILLED,
    LOST,
    STROKES,
    Case,
    Moment,
    Outcome,
    Stroke,
    Victim,
    drawn,
    either,
    expected,
    failed,
    isolated,
    planned,
    sample,
    signalled,
)
from tests.stress.stage import can_isolate, play

SAMPLE = sample(planned(), 40)
BOTH = {Victim.LAUNCHER, Victim.GUARDIAN}
ISOLATED = sample(isolated(), 8)


@pytest.mark.parametrize("case", [*SAMPLE, *ISOLATED], ids=str)
def test_nothing_is_left(case: Case, tmp_path: Path) -> None:
    can_isolate(case.isolate)
    play(case, expected(case), tmp_path)


def test_the_matrix_is_whole() -> None:
    cases = [*planned(), *isolated()]
    assert len({str(case) for case in cases}) == len(cases) >= 500
    assert Counter(case.entry for case in cases).keys() == set(ENTRIES)
    struck = {(s.victim, s.signum) for case in cases for s in case.strokes}
    for victim in set(Victim) - {Victim.OTHER, Victim.ANYBODY, Victim.GROUP}:
        assert {signum for who, signum in struck if who is victim} == set(STROKES)
    assert SIGSTOP in STROKES
    assert SIGCONT not in STROKES


def test_the_sample_has_something_of_everything() -> None:
    assert len(set(SAMPLE)) == 40
    assert {case.entry for case in SAMPLE} == set(ENTRIES)
    assert {case.moment for case in SAMPLE} == set(Moment) - {Moment.RANDOM}
    assert {expected(case).name for case in SAMPLE} >= {
        outcome.name for outcome in (KILLED, LOST, failed(9), signalled(15), GOES_ON)
    }
    assert any(expected(case).needs_reap for case in SAMPLE)
    assert {case.isolate for case in ISOLATED} == set(ISOLATIONS)
    both = [case for case in isolated() if len({s.victim for s in case.strokes} & BOTH) == 2]
    assert {(case.isolate, expected(case).needs_reap) for case in both if all_killed(case)} == {
        ("pidns", False),
        ("cgroup", True),
    }


def all_killed(case: Case) -> bool:
    return {stroke.signum for stroke in case.strokes} == {SIGKILL}


def test_lots_are_drawn_alike_by_one_seed() -> None:
    assert drawn(20, 3) == drawn(20, 3) != drawn(20, 4)


@pytest.mark.parametrize(
    ("moment", "strokes", "outcome"),
    [
        ("steady", [("launcher", 9)], KILLED),
        ("steady", [("group", 9)], KILLED),
        ("steady", [("launcher", 9), ("guardian", 9)], KILLED._replace(needs_reap=True)),
        ("steady", [("launcher", 9), ("worker", 9)], KILLED),
        ("steady", [("launcher", 1)], signalled(1)),
        ("steady", [("launcher", 19)], GOES_ON),
        ("steady", [("guardian", 9)], LOST),
        ("steady", [("guardian", 9), ("worker", 9)], LOST),
        ("steady", [("guardian", 15)], GOES_ON),
        ("steady", [("worker", 3)], failed(3)),
        ("steady", [("worker", 9), ("child", 9)], failed(9)),
        ("steady", [("child", 9)], GOES_ON),
        ("steady", [("daemon", 15)], GOES_ON),
        ("grace", [("guardian", 9)], signalled(15)),
        ("grace", [("worker", 9)], signalled(15)),
        ("grace", [("launcher", 2)], signalled(15)),
        ("sweep", [("guardian", 9)], signalled(15)),
        ("sweep", [("launcher", 2)], signalled(15)),
        ("sweep", [("launcher", 9)], either(KILLED, signalled(15))),
    ],
)
def test_what_is_expected(moment: str, strokes: list[tuple[str, int]], outcome: Outcome) -> None:
    case = Case("spawn", Moment(moment), tuple(_stroke(*stroke) for stroke in strokes))
    assert expected(case) == outcome


def _stroke(victim: str, signum: int) -> Stroke:
    return Stroke(Victim(victim), next(s for s in (*STROKES, SIGKILL, SIGTERM) if s == signum))
