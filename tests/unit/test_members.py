"""How a run's processes are told by what they inherited: names of locks, and whose kin is whose."""

from __future__ import annotations

import pytest

from procession._guardian.unguarded import family
from procession._loop.takeover import namesakes, unguarded
from procession._os.members import Members
from procession._os.proc import Stat
from procession._os.runlock import plain_id, run_of_lock


@pytest.mark.parametrize(
    ("link", "run"),
    [
        ("/memfd:procession-run-4f2a (deleted)", "4f2a"),
        ("/tmp/procession-run-4f2a (deleted)", "4f2a"),
        ("/memfd:procession-run- (deleted)", ""),
        ("/memfd:procession-payload (deleted)", None),
        ("/home/me/procession-run-4f2a", None),
        ("/home/me/procession-runs/latest", None),
        ("procession-run-4f2a", None),
        ("socket:[4711]", None),
        ("", None),
    ],
)
def test_the_run_of_a_lock(link: str, run: str | None) -> None:
    assert run_of_lock(link) == run


@pytest.mark.parametrize(
    ("run_id", "plain"),
    [("a-b", "a-b"), ("team/job\0", "team_job_"), ("ü" * 150, "ü" * 100), ("", "")],
)
def test_an_id_as_a_lock_names_it(run_id: str, plain: str) -> None:
    assert plain_id(run_id) == plain
    assert plain_id(plain) == plain


def stat(parent: int, session: int) -> Stat:
    return Stat("x", "S", parent, session, 0, 0)


# pid: (parent, session). 10 is a worker; 1 is init; 5 a shell in whose session 6 runs.
HOST = {
    1: (0, 1),
    5: (1, 5),
    6: (5, 5),
    10: (1, 10),
    11: (10, 10),
    12: (11, 12),
    13: (12, 12),
    20: (1, 10),
}


@pytest.mark.parametrize(
    ("holders", "bearers", "found"),
    [
        ([], [], []),
        ([10], [], [10, 11, 12, 13, 20]),  # its session, and what it has started
        ([11], [], [10, 11, 12, 13, 20]),  # a session goes back to the run whoever holds on to it
        ([12], [], [12, 13]),
        ([], [10], [10, 11, 12, 13]),  # 20 is of the session only
        ([], [6], [6]),  # a variable can be copied: the shell is nobody's
        ([13], [11], [11, 12, 13]),
        ([99], [98], []),  # gone
    ],
)
def test_the_family_of_a_run(holders: list[int], bearers: list[int], found: list[int]) -> None:
    run = Members()
    run.holders = dict.fromkeys(holders, "/proc/x/fd/3")
    run.bearers = set(bearers)
    table = {pid: stat(*facts) for pid, facts in HOST.items()}
    assert sorted(family(run, table)) == found


def test_a_family_in_a_circle_ends() -> None:
    """What is read of /proc while pids are given anew may contradict itself."""
    run = Members()
    run.bearers = {3}
    assert sorted(family(run, {1: stat(2, 1), 2: stat(1, 2), 3: stat(3, 3)})) == [3]


OURS, THEIRS = (1, 1), (1, 2)
ME, GUARDIAN = 50, 60
# 50 is a launcher that has lost one of its two guardians, 60 the other one; 40 its own guardian's child,
# caught between fork and exec; 31 and 32 workers of another launcher, 30, and we come from 31.
TWO_GANGS = {
    1: (0, 1),
    30: (1, 30),
    31: (30, 31),
    32: (30, 32),
    50: (31, 50),
    51: (50, 51),
    40: (50, 40),
    60: (50, 60),
    61: (60, 61),
    62: (61, 62),
    70: (1, 70),
}


@pytest.mark.parametrize(
    ("locks", "keepers", "found"),
    [
        ({}, {ME}, {32, 51, 40, 60, 61, 62, 70}),  # nobody else: whoever bears the name is ours
        ({GUARDIAN: {THEIRS}}, {ME, GUARDIAN}, {32, 51, 40, 70}),
        ({GUARDIAN: {THEIRS}, 40: {OURS}}, {ME, GUARDIAN, 40}, {32, 51, 40, 70}),
        ({GUARDIAN: {THEIRS}, 30: {THEIRS}}, {ME, GUARDIAN, 30}, {51, 40, 70}),
    ],
)
def test_whose_a_process_is_where_two_gangs_have_one_name(
    locks: dict[int, set[tuple[int, int]]], keepers: set[int], found: set[int]
) -> None:
    run = Members()
    run.bearers = set(TWO_GANGS) - {1, 30, ME}
    run.keepers, run.locks = keepers, locks
    stats = {pid: stat(*kin) for pid, kin in TWO_GANGS.items()}
    assert unguarded(run.pids, namesakes(run, OURS, ME), ME, stats) == found
