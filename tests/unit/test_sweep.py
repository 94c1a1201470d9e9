"""Whether a sweep is done: what lives may never be there at the moment at which it is looked at."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from types import SimpleNamespace

import pytest

from procession._guardian import sweep
from procession._guardian.sweep import end_all, look
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


NOBODY = 1 << 22  # above all pids (pid_max, proc_sys_kernel(5))


@pytest.mark.parametrize(
    ("states", "killable", "is_stuck"),
    [
        ("RRRRRRRRRRRRRRRRRRRR", True, False),  # it waits for a processor to die on
        ("RRDRRRDRRRDRRRDRRRDR", True, False),
        ("DDDDDDDDDDDDDDDDDDDD", True, True),
        ("RRDDDDDDDDDDDDDDDDDD", True, True),
        ("RRRRRRRRRRRRRRRRRRRR", False, True),  # of another user
        ("R" * 200, True, True),  # for half a minute and more
    ],
)
def test_who_is_given_up(
    states: str, killable: bool, is_stuck: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = count(0, 0.25)
    monkeypatch.setattr(sweep, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(sweep, "_kill", lambda *_: killable)
    looks = iter([{NOBODY: stat(state)} for state in states])
    killed, stuck = end_all(lambda: next(looks, {}), lambda _: None)
    assert [left[0] for left in stuck] == [NOBODY] * is_stuck
    assert [left[0] for left in killed] == [NOBODY] * (not is_stuck)
