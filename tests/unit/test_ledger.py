"""The death ledger: who ended whom, and how it is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession._report.account import fate_lines, hard_lines, remains_lines
from procession._report.ledger import (
    ITSELF,
    NOBODY,
    OOM_KILLER,
    OUTSIDE,
    PROCESSION,
    Fate,
    Ledger,
    Life,
    Remnant,
    Stuck,
    fates,
    owner,
)

TERM, KILL, HUP = 15, 9, 1
S = 10**9


def life(exitcode: int | None, died: int = 0, told: int = 0, **known: bool) -> Life:
    plain = {"core_dumped": False, "own": False, "oom_killed": False} | known
    return Life(0, 70, exitcode, started_ns=S, died_ns=died * S, signalled_ns=told * S, **plain)


ENDS = {
    # life, when SIGKILL went out: ended_by, told, lived, after
    "left": (life(0, 5, own=True), None, (ITSELF, None, 4, None)),
    "failed": (life(3, 5, own=True), None, (ITSELF, None, 4, None)),
    "faulted": (life(-11, 5, own=True), None, (ITSELF, None, 4, None)),
    "killed": (life(-KILL, 5, own=True), None, (OUTSIDE, None, 4, None)),
    "out of memory": (life(-KILL, 5, own=True, oom_killed=True), None, (OOM_KILLER, None, 4, None)),
    "told, and died of it": (life(-TERM, 7, 6), None, (PROCESSION, "SIGTERM", 6, 1)),
    "told, and left well": (life(0, 7, 6), None, (PROCESSION, "SIGTERM", 6, 1)),
    "told, and left with a status": (life(3, 7, 6), None, (PROCESSION, "SIGTERM", 6, 1)),
    "died before it was told": (life(-TERM, 5, 6, own=True), None, (OUTSIDE, None, 4, None)),
    "deaf": (life(-KILL, 37, 6), 36, (PROCESSION, "SIGKILL", 36, 31)),
    "deaf, and it was over before": (life(-KILL, 9, 6), 36, (OUTSIDE, "SIGTERM", 8, 3)),
    "killed by others in its grace": (life(-KILL, 9, 6), None, (OUTSIDE, "SIGTERM", 8, 3)),
    "told by another signal": (life(-HUP, 9, 6), None, (OUTSIDE, "SIGTERM", 8, 3)),
    "faulted while it was stopped": (life(-11, 9, 6), None, (ITSELF, "SIGTERM", 8, 3)),
    "out of memory in its grace": (
        life(-KILL, 9, 6, oom_killed=True),
        None,
        (OOM_KILLER, "SIGTERM", 8, 3),
    ),
    "had raised, and our signal hurried it": (
        life(-TERM, 7, 6, own=True),
        None,
        (ITSELF, "SIGTERM", 6, 1),
    ),
    "cannot die": (life(None, 0, 6), 36, (NOBODY, "SIGKILL", None, None)),
}


@pytest.mark.parametrize("case", ENDS.values(), ids=ENDS)
def test_fate(case: tuple[Life, int | None, tuple[object, ...]]) -> None:
    given, killed, expected = case
    (fate,) = fates([given], TERM, None if killed is None else killed * S)
    assert (fate.ended_by, fate.told, fate.lived, fate.after) == expected
    assert (fate.rank, fate.pid, fate.exitcode) == (0, 70, given.exitcode)


def test_a_grace_of_nothing() -> None:
    (fate,) = fates([life(-KILL, 7, 6)], KILL, 6 * S)
    assert (fate.ended_by, fate.told, fate.after) == (PROCESSION, "SIGKILL", 1)


LIVES = st.builds(
    Life,
    st.integers(0, 99),
    st.integers(1, 999),
    st.none() | st.integers(-64, 255),
    st.booleans(),
    st.integers(1, 20),
    st.integers(20, 40),
    st.integers(0, 40),
    st.booleans(),
    st.booleans(),
)


@given(st.lists(LIVES, unique_by=lambda each: each.rank), st.none() | st.integers(0, 40))
def test_every_worker_has_one_row_and_ours_is_what_we_told(
    lives: list[Life], killed: int | None
) -> None:
    rows = fates(lives, TERM, killed)
    assert [row.rank for row in rows] == sorted(life.rank for life in lives)
    for row in rows:
        assert row.ended_by != PROCESSION or row.told
        assert (row.ended_by == NOBODY) == (row.exitcode is None)
        assert row.after is None or row.told


@pytest.mark.parametrize(
    ("session", "file", "rank"), [(70, "", 0), (71, "/0", 1), (99, "/0", 0), (99, "/x", None)]
)
def test_whose_a_process_was(session: int, file: str, rank: int | None) -> None:
    assert owner(session, file, {70: 0, 71: 1}, {"/0": 0, "/1": 1}) == rank


def stopped(rank: int, exitcode: int, told: str = "SIGTERM", after: float = 0.01) -> Fate:
    return Fate(rank, 70 + rank, exitcode, ended_by=PROCESSION, told=told, after=after)


LINES = {
    "nobody": ([], []),
    "all left well": ([Fate(0, 1, 0, lived=1), Fate(1, 2, 0, lived=1)], []),
    "a thousand share a line": (
        [stopped(n, -TERM, after=n / 1e4) for n in range(1000)],
        ["ranks 0-999 stopped by procession (SIGTERM), within 100 ms"],
    ),
    "one": ([stopped(0, -TERM)], ["rank 0 stopped by procession (SIGTERM), after 10 ms"]),
    "deaf": (
        [stopped(0, -KILL, "SIGKILL", 30.02)],
        ["rank 0 stopped by procession (SIGKILL), 30.0 s after our first signal"],
    ),
    "killed at once": (
        [stopped(n, -KILL, "SIGKILL", 0.003) for n in (0, 1)],
        ["ranks 0-1 stopped by procession (SIGKILL), within 3.0 ms of our first signal"],
    ),
    "left when told": (
        [stopped(3, 0, after=2)],
        ["rank 3 stopped by procession (exit code 0), 2.0 s after our first signal"],
    ),
    "others": (
        [
            Fate(0, 1, -KILL, ended_by=OUTSIDE, told="SIGTERM", after=0.5),
            Fate(1, 1, -KILL, ended_by=OOM_KILLER),
            Fate(2, 1, -11, ended_by=ITSELF, told="SIGTERM", after=0.5),
            Fate(3, 1, None, ended_by=NOBODY, told="SIGKILL"),
        ],
        [
            "rank 0 died (SIGKILL not sent by procession), 500 ms after our first signal",
            "rank 1 died (SIGKILL of the OOM killer)",
            "rank 2 died (SIGSEGV), 500 ms after our first signal",
            "rank 3 could not be ended, by SIGKILL neither",
        ],
    ),
    "the most frequent end first": (
        [stopped(0, 3), stopped(1, -TERM), stopped(2, -TERM)],
        [
            "ranks 1-2 stopped by procession (SIGTERM), within 10 ms",
            "rank 0 stopped by procession (exit code 3), 10 ms after our first signal",
        ],
    ),
}


@pytest.mark.parametrize("case", LINES.values(), ids=LINES)
def test_lines(case: tuple[list[Fate], list[str]]) -> None:
    workers, expected = case
    assert fate_lines(workers) == expected


def test_hard_ends_alone() -> None:
    workers = [stopped(0, -TERM), stopped(1, 0), stopped(2, -KILL, "SIGKILL"), Fate(3, 1, 0)]
    assert [line.partition(" stopped")[0] for line in hard_lines(workers)] == ["rank 2"]


def test_what_was_left() -> None:
    sleeps = [Remnant(pid, "sleep", 2, "SIGKILL") for pid in (72, 73, 75)]
    ledger = Ledger((), (Remnant(71, "python3", None, "SIGTERM"), *sleeps))
    assert remains_lines(ledger) == [
        "4 processes left behind and ended: python3 (SIGTERM, pid 71), "
        "sleep of rank 2 (SIGKILL, pids 72-73, 75)"
    ]
    assert remains_lines(Ledger()) == []


def test_many_of_a_kind_are_counted() -> None:
    left = tuple(Remnant(1000 + n, "python3", n, "SIGTERM") for n in range(1000))
    assert remains_lines(Ledger((), left)) == [
        "1000 processes left behind and ended: 1000 python3 of ranks 0-999 (SIGTERM)"
    ]


def test_many_kinds_are_counted() -> None:
    (line,) = remains_lines(
        Ledger((), tuple(Remnant(n, f"p{n}", None, "SIGTERM") for n in range(20)))
    )
    assert line.startswith("20 processes left behind and ended: p0 ")
    assert line.endswith(", and 12 more")


def test_what_could_not_be_ended() -> None:
    stuck = Stuck(71, "python3", 2, "D (disk sleep)", "nfs_wait_bit_killable")
    assert remains_lines(Ledger((), (), (stuck, Stuck(9, "x", None)))) == [
        "pid 71 (python3, of rank 2) could not be ended: state D (disk sleep) in "
        "nfs_wait_bit_killable",
        "pid 9 (x) could not be ended: state unknown",
    ]
