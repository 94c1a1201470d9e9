"""The hub's frames, its keys, and what it answers: all without a socket."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession._hub.frames import PROTOCOL, FrameError, Unframer, frame
from procession._hub.records import Records
from procession._hub.state import HubState
from procession._membership import codec
from procession._membership.model import Account, Fate, Member, Round, Verdict

KEYS = codec.Keys("run")
CLOCK = [KEYS.clock, codec.beat_json("a1", 7).decode()]
A, B = Member("a1", "a", 1), Member("b1", "b", 2)


@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text())), st.integers(1, 7))
def test_frames_come_through_in_any_pieces(said: list[dict[str, Any]], size: int) -> None:
    data = b"".join(map(frame, said))
    frames = Unframer()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert [each for piece in pieces for each in frames.feed(piece)] == said


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        (4).to_bytes(4, "big") + b"nope",
        (2).to_bytes(4, "big") + b"[]",
        (60_000).to_bytes(4, "big") + b"[" * 60_000,
        (70_000).to_bytes(4, "big"),
    ],
)
def test_who_speaks_otherwise_is_seen(data: bytes) -> None:
    with pytest.raises(FrameError, match="does not speak procession's protocol"):
        Unframer().feed(data)


def test_a_key_keeps_the_revision_of_its_making() -> None:
    records = Records()
    records.put("x", b"1")
    records.put("y", b"1")
    records.put("x", b"2")
    found = records.get("x")
    assert found is not None
    assert (found.created, found.modified, found.value) == (1, 3, b"2")


def test_a_key_is_replaced_on_condition() -> None:
    records = Records()
    assert records.replace("x", b"1", 0)
    assert not records.replace("x", b"2", 0)
    assert not records.replace("x", b"2", 7)
    assert records.replace("x", b"2", 1)
    assert [entry.value for entry in records.all()] == [b"2"]


def test_changes_are_told_once_and_the_last_of_each_key() -> None:
    records = Records()
    records.put("p/x", b"1")
    records.put("q", b"1")
    records.put("p/x", b"2")
    assert [(e.name, e.value) for e in records.take_changes().written] == [
        ("q", b"1"),
        ("p/x", b"2"),
    ]
    records.delete("p/")
    changes = records.take_changes()
    assert (changes.written, changes.gone) == ([], ["p/x"])
    assert records.take_changes() == ([], [])


def hello(host: Member, **other: Any) -> dict[str, Any]:
    """What a host says first."""
    return {
        **{"hello": PROTOCOL, "run": "run", "nnodes": "2", "id": host.id, "name": host.host},
        **{"member": codec.member_json(host).decode(), "lease": 5, "back": ""},
        **other,
    }


@pytest.fixture
def hub() -> HubState:
    """A hub with two hosts, since the times 100 and 101; it is the first's."""
    state = HubState("life", "run", "2", A.id)
    assert state.hello(hello(A), 100)["welcome"] == "life"
    assert state.hello(hello(B), 101)["welcome"] == "life"
    return state


def names(state: HubState) -> list[str]:
    return [
        entry.name for entry in state.records.all() if entry.name not in (KEYS.leader, KEYS.clock)
    ]


def the_round(state: HubState) -> Round:
    entry = state.records.get(KEYS.round)
    assert entry is not None
    return codec.read_round(json.loads(entry.value))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"hello": 2}, "protocol 1 is spoken here, not 2"),
        ({"run": "walk"}, "the hosts of the run 'run' meet here, not those of 'walk'"),
        ({"nnodes": "3"}, "was started with --nnodes 2, not 3"),
    ],
)
def test_a_host_of_something_else_is_refused(
    hub: HubState, other: dict[str, Any], words: str
) -> None:
    answer = hub.hello(hello(B, id="c1", **other), 102)
    assert words in answer["refused"]
    assert len(hub.hosts) == 2


@pytest.mark.parametrize(
    "other",
    [{"id": 7}, {"lease": "x"}, {"lease": 0}, {"lease": float("nan")}, {"member": "{}"}],
)
def test_a_hello_that_makes_no_sense(hub: HubState, other: dict[str, Any]) -> None:
    with pytest.raises(FrameError):
        hub.hello(hello(B, **{"id": "c1", **other}), 102)
    assert len(hub.hosts) == 2


def test_a_lease_lasts_from_the_last_word(hub: HubState) -> None:
    assert hub.hear(A.id, {"alive": 1}, 104) == {"alive": 1}
    assert hub.expire(105.9) == []
    assert hub.expire(106) == [B.id]
    assert names(hub) == [KEYS.member(A.id)]
    assert hub.hear(B.id, {"alive": 1}, 106) == {"lost": "this host's lease has run out"}
    assert hub.hello(hello(B, back="life"), 106) == {"lost": "this host's lease has run out"}
    assert hub.expire(109) == [A.id]


def test_who_was_with_another_hub_is_lost(hub: HubState) -> None:
    answer = hub.hello(hello(B, back="another life"), 102)
    assert "has been started anew" in answer["lost"]


def test_no_request_is_carried_out_twice(hub: HubState) -> None:
    name = KEYS.outcome(0, B.id)
    first, then = (
        codec.outcome_json(fate, 1, Account()).decode() for fate in (Fate.FAILING, Fate.FAILED)
    )
    assert hub.hear(B.id, {"n": 1, "put": [name, first]}, 102) == {"done": 1}
    assert hub.hear(B.id, {"n": 2, "put": [name, then]}, 102) == {"done": 2}
    hub.hello(hello(B, back="life"), 103)  # its connection broke; it does not know what was done
    assert hub.hear(B.id, {"n": 1, "put": [name, first]}, 103) == {"done": 1}
    found = hub.records.get(name)
    assert found is not None
    assert found.value.decode() == then


def test_a_round_is_called_off_once(hub: HubState) -> None:
    told = [KEYS.outcome(0, B.id), codec.outcome_json(Fate.FAILING, 1, Account()).decode()]
    hub.hear(B.id, {"n": 1, "put": told, "create": KEYS.off(0)}, 102)
    first = hub.records.get(KEYS.off(0))
    assert first is not None
    assert first.value == b""
    hub.hear(A.id, {"n": 1, "create": KEYS.off(0), "value": codec.TO_GROW.decode()}, 102)
    assert hub.records.get(KEYS.off(0)) == first
    hub.hear(A.id, {"n": 2, "create": KEYS.off(1), "value": codec.TO_GROW.decode()}, 102)
    grows = hub.records.get(KEYS.off(1))
    assert grows is not None
    assert grows.value == codec.TO_GROW


def test_who_leads_hears_all_and_the_others_what_concerns_them(hub: HubState) -> None:
    common = [KEYS.leader]
    of_a, of_b = KEYS.member(A.id), KEYS.member(B.id)
    for host, expected in ((A, [*common, of_a, of_b]), (B, [*common, of_b])):
        answer = hub.hello(hello(host, back="life"), 102)
        assert [name for name, *_ in answer["keys"]] == expected
    put = [KEYS.outcome(0, B.id), codec.outcome_json(Fate.FAILED, 1, Account()).decode()]
    hub.records.take_changes()
    hub.hear(B.id, {"n": 1, "put": put, "create": KEYS.off(0)}, 102)
    changes = hub.records.take_changes()
    assert [entry.name for entry in changes.written] == [KEYS.outcome(0, B.id), KEYS.off(0)]
    assert [entry.name for entry in changes.below(hub.shared).written] == [KEYS.off(0)]


def test_a_roll_names_some_and_counts_all(hub: HubState) -> None:
    answer = hub.hear(B.id, {"roll": 1}, 102)
    assert [name for name, *_ in answer["roll"]] == [KEYS.member(A.id)]
    assert answer["total"] == 2


def test_a_round_is_replaced_and_what_is_behind_it_forgotten(hub: HubState) -> None:
    name = KEYS.outcome(0, B.id)
    hub.hear(
        B.id, {"n": 1, "put": [name, codec.outcome_json(Fate.STOPPED, 1, Account()).decode()]}, 102
    )
    now = codec.round_json(Round(1, (A, B))).decode()
    ask = {"n": 2, "replace": [KEYS.round, now, 99], "forget": [KEYS.outcomes], "put": CLOCK}
    hub.hear(B.id, ask, 102)
    assert KEYS.round not in names(hub)
    assert name in names(hub)
    hub.hear(B.id, {**ask, "n": 3, "replace": [KEYS.round, now, 0]}, 102)
    assert KEYS.round in names(hub)
    assert name not in names(hub)


@pytest.mark.parametrize(
    "said",
    [
        {"n": 1},
        {"put": ["x", "y"]},
        {"n": 1, "put": "x"},
        {"n": 1, "put": [1, 2]},
        {"n": 1, "put": [KEYS.round, "{}"]},
        {"n": 1, "put": [KEYS.outcome(0, "b1"), "7"]},
        {"n": 1, "replace": [KEYS.round, "nonsense", 0], "forget": [], "put": CLOCK},
        {"n": 1, "replace": [KEYS.round, 7, 0]},
        {"n": 1, "create": 7},
        {"n": 1, "create": KEYS.off(0), "value": 7},
        {"roll": "all"},
    ],
)
def test_a_request_that_makes_no_sense(hub: HubState, said: dict[str, Any]) -> None:
    with pytest.raises(FrameError):
        hub.hear(B.id, said, 102)
    assert names(hub) == [KEYS.member(A.id), KEYS.member(B.id)]


def test_the_run_ends_with_its_hub(hub: HubState) -> None:
    hub.farewell = Verdict(143, "a was ended")
    hub.hear(B.id, {"n": 1, "leave": True}, 102)
    assert names(hub) == [KEYS.member(A.id)]
    hub.hear(A.id, {"n": 1, "leave": True}, 102)
    assert the_round(hub).verdict == Verdict(143, "a was ended")
    assert hub.hosts == {}


def test_a_verdict_stays(hub: HubState) -> None:
    good = Round(0, (), verdict=Verdict(0, "succeeded"))
    said = {
        "n": 1,
        "replace": [KEYS.round, codec.round_json(good).decode(), 0],
        "forget": [],
        "put": CLOCK,
    }
    hub.hear(A.id, said, 102)
    hub.hear(A.id, {"n": 2, "leave": True}, 102)
    assert the_round(hub) == good


def test_when_no_worker_can_be_alive(hub: HubState) -> None:
    def outcome(of: Member, fate: Fate) -> list[str]:
        return [KEYS.outcome(0, of.id), codec.outcome_json(fate, 1, Account()).decode()]

    assert hub.is_between_gangs()
    now = codec.round_json(Round(0, (A, B))).decode()
    hub.hear(A.id, {"n": 1, "replace": [KEYS.round, now, 0], "forget": [], "put": CLOCK}, 102)
    assert not hub.is_between_gangs()
    hub.hear(A.id, {"n": 2, "put": outcome(A, Fate.FAILED)}, 102)
    assert not hub.is_between_gangs()
    hub.hear(B.id, {"n": 1, "put": outcome(B, Fate.STOPPED)}, 102)
    assert hub.is_between_gangs()
