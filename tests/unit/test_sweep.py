"""Whether a sweep is done: what lives may never be there at the moment at which it is looked at."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from procession._guardian.sweep import PATIENCE, _patience, look
from procession._os.proc import Stat


def stat(state: str = "R") -> Stat:
    return Stat("x", state, 1, 1, 0, 0)


@pytest.mark.parametrize(
    ("looks", "found", "taken"),
    [
        ([(set(), set())], set(), 1),
        ([({1, 2}, {2})], {2}, 1),
        ([({1}, set()), ({1}, set())], set(), 2),  # a corpse that nobody has reaped yet
        ([({1}, set()), (set(), set())], set(), 2),  # and one that somebody has
        ([({1}, set()), ({1, 2}, {2})], {2}, 2),  # 1 has forked 2 and ended: 2 was not listed
        ([({1}, set()), ({2}, set()), ({3}, {3})], {3}, 3),  # it had luck twice
        ([({1}, set()), ({2}, set()), ({2}, set())], set(), 3),
    ],
)
def test_who_is_left(looks: list[tuple[set[int], set[int]]], found: set[int], taken: int) -> None:
    made = iter(looks)
    now: list[tuple[set[int], set[int]]] = []

    def listed() -> set[int]:
        now.append(next(made))
        return now[-1][0]

    def living(pids: Iterable[int]) -> dict[int, Stat]:
        assert set(pids) == now[-1][0]
        return {pid: stat() for pid in now[-1][1]}

    chased: list[set[int]] = []
    assert look(listed, lambda pids: chased.append(set(pids)), living).keys() == found
    assert len(now) == taken
    assert chased == [pids for pids, _ in looks[: taken - 1]]


@pytest.mark.parametrize(
    ("states", "killed", "longer"),
    [
        ({1: "R"}, {1}, True),  # it waits for a processor, on which to die
        ({1: "R"}, set(), False),  # somebody else's
        ({1: "D"}, {1}, False),
        ({1: "D", 2: "R"}, {1, 2}, True),
        ({1: "D", 2: "R"}, {1}, False),
    ],
)
def test_how_long_is_waited_for_who_has_been_killed(
    states: dict[int, str], killed: set[int], longer: bool
) -> None:
    found = {pid: stat(state) for pid, state in states.items()}
    assert (_patience(killed, found) > PATIENCE) == longer
