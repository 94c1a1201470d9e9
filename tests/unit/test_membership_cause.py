"""Which host failed first: clocks that differ, bounds of what is known, and what failures tell."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession._membership.cause import Finding, Suspect, first
from procession._membership.clocks import Bounds, ahead, moment, tighter
from procession._membership.model import (
    Account,
    Beat,
    Evidence,
    Fate,
    Member,
    Outcome,
    Round,
    Terms,
    View,
)
from procession._membership.rules import next_round

LOST, OWN, KILLED = Evidence.PEER_LOST, Evidence.OWN_ERROR, Evidence.KILLED
SECOND = 10**9
DAY = 24 * 3600 * SECOND


def told(beat: Beat | None, told_at: int, heard: int, failed_at: int = 0) -> Outcome:
    account = Account(3, failed_at=failed_at, told_at=told_at, beat=beat)
    return Outcome("b", Fate.FAILED, 5, 0, account, heard)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        # The leader's 100 is read at 1107; the host's 1200 is read at 208: ahead by 992 to 1007.
        (told(Beat("a", 100, 1107), 1200, 208), Bounds(992, 1007)),
        # Behind by 1000.
        (told(Beat("a", 2100, 1107), 1200, 2208), Bounds(-1008, -993)),
        # A day between the two: clocks may have drifted apart by a ten thousandth of it.
        (told(Beat("a", 100, 110), DAY, DAY + 5), Bounds(-5, 10 + (DAY - 110) // 10_000)),
        (told(None, 1200, 208), None),
        (told(Beat("c", 100, 1107), 1200, 208), None),  # another led then
        (told(Beat("a", 100, 0), 1200, 208), None),  # a store that takes no time
        (told(Beat("a", 100, 1107), 1200, 0), None),
        (told(Beat("a", 100, 200), 99_000, 300), None),  # somebody has set a clock
    ],
)
def test_by_how_much_a_clock_is_ahead(outcome: Outcome, expected: Bounds | None) -> None:
    assert ahead(outcome, "a") == expected


def test_the_leaders_own_clock() -> None:
    assert ahead(told(None, 0, 0), "b") == Bounds(0, 0)


@given(
    offset=st.integers(-(10**12), 10**12),
    there=st.integers(0, 10**9),
    back=st.integers(0, 10**9),
    wait=st.integers(0, 10**12),
)
def test_the_truth_is_within_the_bounds(offset: int, there: int, back: int, wait: int) -> None:
    beat = Beat("a", 10**13, 10**13 + there + offset)
    told_at = beat.heard + wait
    bounds = ahead(told(beat, told_at, told_at - offset + back), "a")
    assert bounds is not None
    assert bounds.least <= offset <= bounds.most
    assert abs(bounds.middle - offset) <= bounds.doubt


QUICK, SLOW = Beat("a", 1000, 1005), Beat("a", 2000, 2900)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, None, None),
        (None, SLOW, SLOW),
        (QUICK, None, QUICK),
        (QUICK, SLOW, QUICK),
        (SLOW, Beat("a", 3000, 3001), Beat("a", 3000, 3001)),
        (QUICK, Beat("a", 2000, 2005), Beat("a", 2000, 2005)),  # as good, and later
        (QUICK, Beat("b", 2000, 2900), Beat("b", 2000, 2900)),  # another leads
        (Beat("a", 1000, 0), SLOW, SLOW),  # a store that takes no time
        (QUICK, Beat("a", DAY, DAY + 900), Beat("a", DAY, DAY + 900)),  # clocks have drifted
    ],
)
def test_the_reading_that_tells_most_is_kept(
    old: Beat | None, new: Beat | None, expected: Beat | None
) -> None:
    assert tighter(old, new) == expected


@pytest.mark.parametrize(
    ("at", "offset", "expected"),
    [
        (1000, Bounds(10, 30), Bounds(970, 990)),
        (0, Bounds(10, 30), None),
        (1000, None, None),
    ],
)
def test_a_moment_on_the_leaders_clock(
    at: int, offset: Bounds | None, expected: Bounds | None
) -> None:
    assert moment(at, offset) == expected


def s(name: str, when: tuple[int, int] | None, evidence: Evidence = OWN, order: int = 0) -> Suspect:
    return Suspect(name, Bounds(*when) if when else None, evidence, order)


@pytest.mark.parametrize(
    ("suspects", "expected"),
    [
        ([], None),
        ([s("a", None)], Finding("a", (), "clocks")),
        # Clocks tell: whatever the store heard first, and whatever the failures are.
        ([s("a", (10, 20), OWN, 1), s("b", (5, 9), LOST, 2)], Finding("b", (), "clocks")),
        # They do not: the killed one.
        ([s("a", (10, 20), OWN, 1), s("b", (15, 25), KILLED, 2)], Finding("b", ("a",), "evidence")),
        ([s("a", (10, 20), LOST, 1), s("b", (15, 25), OWN, 2)], Finding("b", ("a",), "evidence")),
        # Failures of one kind: the time in the middle, whatever the store heard first.
        ([s("a", (12, 20), OWN, 1), s("b", (10, 20), OWN, 2)], Finding("b", ("a",), "order")),
        ([s("a", (10, 20), OWN, 2), s("b", (10, 20), OWN, 1)], Finding("b", ("a",), "order")),
        # Who failed certainly later is no rival, though its failure tells more.
        (
            [s("a", (10, 20), LOST), s("b", (18, 30), LOST), s("c", (21, 30), OWN)],
            Finding("a", ("b",), "order"),
        ),
        # Who was killed is told of after those that missed it; not if that was long after.
        ([s("a", (10, 20), LOST), s("b", (30, 40), KILLED)], Finding("b", ("a",), "evidence")),
        ([s("a", (10, 20), LOST), s("b", (30, 40), OWN)], Finding("a", (), "clocks")),
        ([s("a", (10, 20), LOST), s("b", (3 * SECOND,) * 2, KILLED)], Finding("a", (), "clocks")),
        ([s("a", (10, 20), OWN), s("b", (30, 40), KILLED)], Finding("a", (), "clocks")),
        # Clocks that were not compared: it may have been the first.
        ([s("a", (10, 20), LOST, 1), s("b", None, OWN, 2)], Finding("b", ("a",), "evidence")),
        ([s("a", (10, 20), OWN, 2), s("b", None, OWN, 1)], Finding("b", ("a",), "order")),
        ([s("a", None, OWN, 2), s("b", None, OWN, 1)], Finding("b", ("a",), "order")),
    ],
)
def test_who_is_the_cause(suspects: list[Suspect], expected: Finding | None) -> None:
    assert first(suspects) == expected


MEMBERS = (Member("a", "gpu1", 1), Member("b", "gpu2", 2), Member("c", "gpu3", 3))


def ended(*outcomes: Outcome, members: tuple[Member, ...] = MEMBERS) -> Round:
    """The verdict on a round of all three hosts."""
    view = View(members, Round(0, MEMBERS), 9, outcomes)
    following = next_round(view, Terms(3, 3, 0), last_call_over=True)
    assert following is not None
    return following


def failed(name: str, order: int, at: int, beat: Beat | None = None, **kw: object) -> Outcome:
    account = Account(order, story=f"story of {name}", failed_at=at, told_at=at + 5, beat=beat)
    heard = at + 9 if beat is None else at - 1000 + 9
    return Outcome(name, Fate.FAILED, order, 0, account._replace(**kw), heard)  # type: ignore[arg-type]


def test_the_verdict_goes_by_the_clocks() -> None:
    """b's clock is 1000 ahead; it failed 40 before a, and told later."""
    a = failed("a", 7, 500)
    b = failed("b", 8, 1460, Beat("a", 100, 1104))
    c = Outcome("c", Fate.STOPPED, 9)
    verdict = ended(a, b, c).verdict
    assert verdict is not None
    assert (verdict.status, verdict.reason) == (8, "workers failed on gpu2")
    told = json.loads(verdict.report)
    assert (told["root"], told["by"], told["rivals"]) == (1, "clocks", [])
    assert [host["fate"] for host in told["hosts"]] == ["failed", "failed", "stopped"]
    assert [host["story"] for host in told["hosts"]] == ["story of a", "story of b", ""]
    assert [host["ahead_ns"] for host in told["hosts"]] == [0, 1000, None]
    assert [host["doubt_ns"] for host in told["hosts"]] == [0, 4, None]


def test_a_lost_host_comes_before_those_that_missed_it() -> None:
    missed = failed("a", 7, 500, evidence=LOST)
    verdict = ended(missed, Outcome("b", Fate.STOPPED, 9), members=MEMBERS[:2]).verdict
    assert verdict is not None
    assert verdict.status == 1
    assert verdict.reason.startswith("lost gpu3: ")
    told = json.loads(verdict.report)
    assert (told["root"], told["hosts"][2]["fate"]) == (None, "lost")


def test_a_lost_host_does_not_come_before_an_error_of_ones_own() -> None:
    verdict = ended(failed("a", 7, 500), Outcome("b", Fate.STOPPED, 9), members=MEMBERS[:2]).verdict
    assert verdict is not None
    assert (verdict.status, verdict.reason) == (7, "workers failed on gpu1")


def test_stories_that_do_not_fit_are_dropped_and_that_of_the_cause_is_not() -> None:
    long = "x" * 100_000
    verdict = ended(*(failed(name, n, 500, story=long) for n, name in enumerate("abc", 1))).verdict
    assert verdict is not None
    told = json.loads(verdict.report)
    assert told["root"] == 0
    assert [bool(host["story"]) for host in told["hosts"]] == [True, True, False]
