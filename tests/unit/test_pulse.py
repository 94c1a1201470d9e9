"""A silent guardian: asked and continued, then judged by what it does; never while nothing is due."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from procession._guardian.pulse import Pulse, Remedy
from procession._os.vitals import Vitals, is_runnable, parse_vitals

SECOND = 10**9
ROUSE, KILL = Remedy.ROUSE, Remedy.KILL


def course(*looks: Vitals | None) -> list[Remedy | None]:
    """What is done at one look a second."""
    pulse = Pulse()
    pulse.due(100.0)
    return [pulse.remedy(101.0 + number, look) for number, look in enumerate(looks)]


def asleep(state: str = "S", used: int = 7, turns: int = 3) -> Vitals:
    return Vitals(state, used, turns)


def test_it_is_looked_at_every_second_from_the_first_on() -> None:
    pulse = Pulse()
    assert not pulse.is_late(1000.0)
    assert pulse.due(100.0) == 101.0
    assert [pulse.is_late(now) for now in (100.9, 101.0)] == [False, True]
    assert pulse.remedy(101.5, asleep()) is ROUSE
    assert pulse.due(101.6) == 102.5


def test_a_word_begins_it_anew() -> None:
    pulse = Pulse()
    pulse.due(100.0)
    assert pulse.remedy(101.0, asleep("T")) is ROUSE
    pulse.heard()
    assert not pulse.is_late(200.0)
    assert pulse.due(200.0) == 201.0
    assert pulse.remedy(201.0, asleep("T")) is ROUSE


@pytest.mark.parametrize("state", ["T", "t"])
def test_one_that_stays_stopped_is_ended(state: str) -> None:
    assert course(asleep(state), asleep(state)) == [ROUSE, KILL]
    assert course(asleep("R"), asleep("R"), asleep(state), asleep(state)) == [
        ROUSE,
        None,
        ROUSE,
        KILL,
    ]


def test_one_that_waits_for_a_processor_is_waited_for() -> None:
    """However long that takes, and if it never gets one: a kill would take as long."""
    assert course(*[asleep("R")] * 600) == [ROUSE, *[None] * 599]


@pytest.mark.parametrize("state", ["S", "D"])
def test_one_that_does_not_stir_is_ended_in_the_end(state: str) -> None:
    assert course(*[asleep(state)] * 31) == [ROUSE, *[None] * 29, KILL]


@pytest.mark.parametrize("unit", [{"used": 8}, {"turns": 4}])
def test_one_that_stirs_now_and_then_is_waited_for(unit: dict[str, int]) -> None:
    still = [asleep("D")] * 29
    assert KILL not in course(*still, *[asleep("D", **unit)] * 29)


def test_one_that_works_and_says_nothing_is_ended() -> None:
    """Whether it had much to do before does not count."""
    looks = [Vitals("R", 900 * SECOND + used * SECOND // 2, used) for used in range(11)]
    assert course(*looks) == [ROUSE, *[None] * 9, KILL]


def test_without_a_proc_the_looks_are_counted() -> None:
    assert course(*[None] * 31) == [ROUSE, *[None] * 29, KILL]


STAT = b"12 (a) b) S 1 12 12 0 -1 4194560 141 0 0 0 250 50 0 0 20 0 1 0 77 5 6 7 8\n"


def test_vitals_as_the_kernel_tells_them() -> None:
    assert parse_vitals(STAT, b"123456789 42 17\n") == Vitals("S", 123456789, 17)
    assert parse_vitals(STAT, b"") == Vitals("S", 3 * SECOND, 0)


def comes_true(question: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not (true := question()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return true


@pytest.mark.parametrize(("life", "runs"), [("while True: pass", True), ("input()", False)])
def test_who_gets_on(life: str, runs: bool) -> None:
    argv = [sys.executable, "-S", "-c", life]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as child:
        assert comes_true(lambda: is_runnable(child.pid) is runs)
        child.kill()
    assert not is_runnable(child.pid)
