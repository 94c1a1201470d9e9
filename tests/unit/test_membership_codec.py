"""Records of a store: what is written is what is read; what makes no sense is said."""

from __future__ import annotations

import pytest

from procession._agent.words import host_names, roll_call
from procession._membership import codec
from procession._membership.codec import Entry, Keys, Reader
from procession._membership.model import (
    Account,
    Beat,
    Evidence,
    Fate,
    Member,
    Outcome,
    Roll,
    Round,
    Terms,
    Verdict,
    View,
)
from procession._restarts.cause import Cause
from procession.errors import RendezvousStateError

KEYS = Keys("my/run")
A = Member("a-1", "a", 5, 2, 1, "10.0.0.1", 1000)
B = Member("b-1", "b", 7)
CAUSE = Cause("worker", -9, "ValueError", "a.py:3", "ab", words="rank 1 died of SIGKILL")
ACCOUNT = Account(3, "t", "story", 5, Evidence.KILLED, 7, Beat("b-1", 8, 9), CAUSE, 4.5)


def test_keys_hold_what_an_id_may_hold() -> None:
    assert KEYS.member("x") == "/procession/my%2Frun/members/x"
    assert KEYS.outcome(3, "x") == "/procession/my%2Frun/outcomes/3/x"


@pytest.mark.parametrize("verdict", [None, Verdict(3, "why", "text")])
def test_a_view_is_read(verdict: Verdict | None) -> None:
    now = Round(4, (A, B), 2, verdict=verdict, cause=verdict and CAUSE, worked=2.5, pause=0.5)
    entries = [
        Entry(KEYS.member("b-1"), codec.member_json(B), 7, 7),
        Entry(KEYS.member("a-1"), codec.member_json(A._replace(since=0)), 5, 5),
        Entry(KEYS.round, codec.round_json(now), 8, 9),
        Entry(KEYS.outcome(4, "a-1"), codec.outcome_json(Fate.FAILED, 9, ACCOUNT), 10, 11, 99),
        Entry(KEYS.outcome(3, "a-1"), codec.outcome_json(Fate.LEFT, 0, Account()), 6, 6),
        Entry(KEYS.leader, b"a-1", 5, 5),
        Entry(KEYS.off(3), b"", 6, 6),
        Entry(KEYS.clock, codec.beat_json("a-1", 2**62), 3, 12, 98),
    ]
    told, beat = Outcome("a-1", Fate.FAILED, 10, 9, ACCOUNT, 99), Beat("a-1", 2**62, 98)
    reader = Reader(KEYS)
    for _ in range(2):
        assert reader.view(entries) == View((A, B), now, 9, (told,), leader="a-1", beat=beat)
    off = Entry(KEYS.off(4), b"", 12, 12)
    partial = reader.view([*entries[1:3], off], whole=False)
    assert partial == View((A,), now, 9, called_off=True, whole=False)
    grows = reader.view(
        [*entries[1:3], off._replace(value=codec.TO_GROW, modified=13)], whole=False
    )
    assert grows == partial._replace(to_grow=True)


def test_all_of_one_host_is_far_less_than_a_kilobyte() -> None:
    now = Round(0, tuple(A._replace(host=f"gpu{n}") for n in range(1000)))
    assert len(codec.round_json(now)) < 100_000


@pytest.mark.parametrize("value", [b"{", b"[]", b'{"host": 1}', b'{"generation": 1}'])
@pytest.mark.parametrize("name", [KEYS.member("x"), KEYS.round, KEYS.outcome(0, "x"), KEYS.clock])
def test_what_makes_no_sense_is_said(name: str, value: bytes) -> None:
    with pytest.raises(RendezvousStateError, match="makes no sense"):
        Reader(KEYS).view([Entry(name, value, 1, 1)])


def here(*hosts: str, ranks: tuple[int | None, ...] = (None,) * 9) -> Roll:
    members = tuple(Member(h, h, n, node_rank=ranks[n]) for n, h in enumerate(hosts))
    return Roll(members, len(members))


@pytest.mark.parametrize(
    ("roll", "terms", "left", "expected"),
    [
        (here(), Terms(2, 2), 5, "2 of 2 hosts (have none), 5 s left"),
        (
            here("gpu1", "gpu2", "gpu3", "gpu4", "gpu5", "gpu6"),
            Terms(8, 8),
            47.4,
            "2 of 8 hosts (have gpu1 … gpu6), 47 s left",
        ),
        (here("b", "a"), Terms(3, 5), float("inf"), "1 of 3 to 5 hosts (have a, b)"),
        (here("a"), Terms(1, 4), 30, "more hosts, up to 4 (have a), 30 s left"),
        (
            here("a", "b", ranks=(1, 1)),
            Terms(2, 2),
            3,
            "the other hosts (have a, b), 3 s left; a and b both have --node-rank 1",
        ),
    ],
)
def test_who_is_waited_for(roll: Roll, terms: Terms, left: float, expected: str) -> None:
    assert roll_call(roll, terms, left) == expected


def test_many_hosts_are_not_all_named() -> None:
    assert host_names([f"n{n}" for n in range(1, 9)], 8) == "n1 … n8, 8 in all"
    assert host_names([f"n{n}" for n in range(1, 17)], 60) == "n1, n2, n3 and 57 more"
