"""The report as text: whole examples first, then one rule a test."""

from __future__ import annotations

import re
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession._os.memory import Oom, Space
from procession._report.fold import fold
from procession._report.ledger import (
    ITSELF,
    NOBODY,
    OOM_KILLER,
    OUTSIDE,
    PROCESSION,
    Fate,
    Ledger,
    Remnant,
    Stuck,
)
from procession._report.render import MOST_GROUPS, WIDTH, render_report
from procession._report.view import FailureView, ReportView
from procession._report.words import exit_meaning, exit_name, ranks_text, span

LOGS = "/runs/job_x7/attempt_0"
RAISED = """\
Traceback (most recent call last):
  File "/home/u/train.py", line 12, in <module>
    main()
ValueError: bad value {}
"""
MS = 1_000_000


def view(rank: int, exitcode: int = 1, ms: float = 0, **known: object) -> FailureView:
    plain = {
        "local_rank": rank,
        "pid": 4000 + rank,
        "timestamp_ns": 10**18 + int(ms * MS),
        "time": "2026-08-01_12:00:01.123456",
        "host": "node1",
    }
    return FailureView(rank=rank, exitcode=exitcode, **(plain | known))  # type: ignore[arg-type]


def raised(rank: int, ms: float = 0, value: object = "x", **known: object) -> FailureView:
    return view(rank, 1, ms, traceback=RAISED.format(value), **known)


def report(*failures: FailureView, stopped: tuple[FailureView, ...] = ()) -> str:
    return render_report(ReportView("train.py", failures, stopped))


def test_a_killed_rank_and_its_victims() -> None:
    text = report(
        view(
            3,
            -9,
            duration=12.41,
            last_lines=("loading", "step 3"),
            stdout=f"{LOGS}/3/stdout.log",
            stderr=f"{LOGS}/3/stderr.log",
        ),
        raised(1, 3, error_file=f"{LOGS}/1/error.json", stderr=f"{LOGS}/1/stderr.log"),
        view(0, 3, 5, problem="torn", error_file=f"{LOGS}/0/error.json"),
        stopped=(view(6, -15), view(4, -15), view(7, -9), view(5, -15)),
    )
    bar, line = "=" * WIDTH, "-" * WIDTH
    expected = f"""\
        {bar}
        train.py FAILED
        {line}
        ranks 4-6 stopped by procession (SIGTERM)
        rank 7 stopped by procession (SIGKILL)
        {line}
        Other failures:
        rank 1 (pid: 4001), 3.0 ms after the root cause:
          exitcode  : 1
          stderr    : /runs/job_x7/attempt_0/1/stderr.log
          traceback :
            Traceback (most recent call last):
              File "/home/u/train.py", line 12, in <module>
                main()
            ValueError: bad value x
        rank 0 (pid: 4000), its error.json is torn, 5.0 ms after the root cause:
          exitcode  : 3
          traceback : none; stderr was not captured
        {line}
        Root cause (first failure):
          time      : 2026-08-01_12:00:01.123456, 12.4 s after its start
          host      : node1
          rank      : 3 (local_rank: 3)
          exitcode  : -9 (pid: 4003) SIGKILL: killed; perhaps by the kernel's OOM
                      killer: see dmesg
          stdout    : /runs/job_x7/attempt_0/3/stdout.log
          stderr    : /runs/job_x7/attempt_0/3/stderr.log ends with:
            loading
            step 3
        {bar}"""
    assert text == dedent(expected)


def test_the_same_exception_in_all_ranks_is_shown_once_and_last() -> None:
    text = report(*(raised(rank, ms, error_file="e") for ms, rank in enumerate([2, 0, 1, 3])))
    assert text.count("Traceback") == 1
    assert "\nranks 0-1, 3 (3x), 1.0 ms after the root cause: the same error\n" in text
    assert text.endswith(f"    ValueError: bad value x\n{'=' * WIDTH}")


def test_errors_that_differ_in_numbers_are_folded_and_it_is_said() -> None:
    text = report(view(0, -11), *(raised(r, r, f"0x7f{r}a on rank {r}") for r in range(1, 8)))
    assert "ranks 1-7 (7x), 1.0 ms after the root cause, alike but for numbers:\n" in text
    assert text.count("Traceback") == 1
    assert "bad value 0x7f1a on rank 1\n" in text


def test_errors_like_the_root_cause_but_for_numbers() -> None:
    text = report(raised(0, 0, 0), raised(1, 1, 1))
    assert "rank 1 (pid: 4001), 1.0 ms after the root cause: the same error but for numbers" in text


@pytest.mark.parametrize(
    "other",
    [
        raised(1, 1, "y"),
        view(1, 1, 1, traceback=RAISED.format("x").replace("line 12", "line 13")),
        view(1, 2, 1, traceback=RAISED.format("x")),
        raised(1, 1, problem="torn"),
        view(1, 1, 1, last_lines=("bad value x",)),
    ],
)
def test_different_errors_are_not_folded(other: FailureView) -> None:
    assert [len(group.members) for group in fold([raised(0), other])] == [1, 1]


def test_many_different_errors_are_named_and_not_all_shown() -> None:
    failures = [raised(n, n, chr(ord("a") + n)) for n in range(12)]
    text = report(*failures)
    assert text.count("Traceback") == 1 + MOST_GROUPS
    assert "\nand ranks 6-11 with other errors\n" in text


def test_one_failure_has_no_other_failures_and_nobody_stopped() -> None:
    text = report(raised(0))
    assert "Other" not in text
    assert "stopped" not in text


def test_failures_of_one_stamp() -> None:
    assert "rank 1 (pid: 4001), at the root cause's time:" in report(view(0), raised(1))


@pytest.mark.parametrize(
    ("known", "end"),
    [
        ({"traceback": "T\nE: x\n", "last_lines": ("a",)}, "  traceback :\n    T\n    E: x"),
        ({"last_lines": ("a", "b"), "stderr": "/l"}, "  stderr    : /l ends with:\n    a\n    b"),
        (
            {"last_lines": ("a",), "message": "m"},
            "  stderr    : ends with:\n    a\n  message   :\n    m",
        ),
        ({"message": "one\ntwo"}, "  message   :\n    one\n    two"),
        ({"stderr": "/l"}, "  stderr    : /l\n  traceback : none, and nothing on stderr"),
        ({}, "  traceback : none; stderr was not captured"),
    ],
)
def test_the_error_is_what_is_known_and_stands_last(known: dict[str, Any], end: str) -> None:
    assert report(view(0, 3, **known)).endswith(f"\n{end}\n{'=' * WIDTH}")


def test_what_is_wrong_with_an_error_file_stands_beside_the_rank() -> None:
    text = report(view(0, 3, problem="too large (12.0 MiB)", error_file="/x/error.json"))
    assert "  rank      : 0 (local_rank: 0), its error.json is too large (12.0 MiB)\n" in text
    assert "  error_file: /x/error.json\n" in text


def test_a_core_dump_is_told() -> None:
    assert "-6 (pid: 4000) SIGABRT: aborted itself" in report(view(0, -6, core_dumped=True))
    assert "core dumped" in report(view(0, -6, core_dumped=True))
    assert "core dumped" not in report(view(0, -6))


OOM = Oom("/cg/job/memory.events", 2, 3, sure=True)


@pytest.mark.parametrize(
    ("exitcode", "known", "said"),
    [
        (
            -9,
            {"oom": OOM},
            [
                "-9 (pid: 4000) SIGKILL: killed by the kernel's OOM killer: out of memory",
                "  memory    : /cg/job/memory.events: oom_kill 2, then 3",
            ],
        ),
        (-9, {"oom": OOM._replace(sure=False)}, ["killed, likely by the kernel's OOM killer"]),
        (-9, {"oom": OOM._replace(now=2)}, ["OOM killer ended nobody on this"]),
        (
            137,
            {"oom": OOM},
            ["as of a shell whose command died of SIGKILL: killed by", "oom_kill 2, then 3"],
        ),
        (1, {"oom": OOM}, ["oom_kill 2, then 3"]),
        (-9, {"oom": OOM._replace(before=None, sure=False)}, ["likely", "events: oom_kill 3\n"]),
        (-7, {"shared_memory": Space(0, 64 << 20)}, ["  /dev/shm  : 0.0 MiB of 64.0 MiB free"]),
        (-11, {"core": "/tmp/core.4000"}, ["  core      : /tmp/core.4000"]),
        (
            -11,
            {"stderr": "/l", "last_lines": ("Fatal Python error: Segmentation fault", "Current")},
            ["  stderr    : /l says where it was:\n    Fatal Python error"],
        ),
    ],
)
def test_what_the_host_knows(exitcode: int, known: dict[str, Any], said: list[str]) -> None:
    text = re.sub(r"\n {14}", " ", report(view(0, exitcode, **known)))
    for part in said:
        assert part in text


def test_a_counter_that_did_not_move_is_no_line() -> None:
    assert "oom_kill" not in report(view(0, -9, oom=OOM._replace(now=2)))


def test_the_ledger_stands_where_the_stopped_are_told() -> None:
    ledger = Ledger(
        (
            Fate(0, 4000, 0, lived=1.0),
            Fate(1, 4001, 1, lived=1.0),
            Fate(2, 4002, -15, ended_by=PROCESSION, told="SIGTERM", after=0.004),
        ),
        (Remnant(99, "sleep", 1, "SIGTERM"),),
        (Stuck(98, "python3", 2, "D (disk sleep)", "nfs_wait"),),
    )
    text = render_report(ReportView("x", (view(1),), (view(2, -15),), ledger))
    assert text.split("\n")[3:7] == [
        "rank 2 stopped by procession (SIGTERM), after 4.0 ms",
        "1 process left behind and ended: sleep of rank 1 (SIGTERM, pid 99)",
        "pid 98 (python3, of rank 2) could not be ended: state D (disk sleep) in",
        "  nfs_wait",
    ]


def test_a_signal_of_ours_that_was_quicker() -> None:
    assert "1 (pid: 4000) cut short by procession's SIGTERM" in report(
        raised(0, hastened_by="SIGTERM")
    )


def test_delimiters() -> None:
    lines = render_report(ReportView("x", (view(0),)), "*", "+-").split("\n")
    assert lines[0] == lines[-1] == "*" * WIDTH
    assert lines[2] == ("+-" * WIDTH)[:WIDTH]


def test_a_long_traceback_keeps_its_beginning_and_its_end() -> None:
    text = report(view(0, traceback="\n".join(f"frame {n}" for n in range(1000))))
    assert "    frame 19\n    ... 880 lines left out ...\n    frame 900\n" in text
    assert "    frame 999\n" in text


def test_a_long_line_is_cut() -> None:
    assert f"{'x' * 1000} ... (99000 more characters)\n" in report(view(0, message="x" * 100_000))


HOSTILE = {
    "colours": ("\x1b[1;31mred\x1b[0m\x1b]0;title\x07!", "red!"),
    "progress": (" 10%\r100%", "100%"),
    "NUL": ("a\0b", r"a\x00b"),
    "a lone escape": ("a\x1b", r"a\x1b"),
    "surrogates": ("\ud800\udfff", r"\ud800\udfff"),
    "C1": ("\x9b2J", r"\x9b2J"),
    "right to left": ("\u202eabc", r"\u202eabc"),
    "a tab": ("a\tb", "a\tb"),
    "Chinese": ("\u4f60\u597d", "\u4f60\u597d"),
}


@pytest.mark.parametrize("case", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_shown_as_harmless_text(case: tuple[str, str]) -> None:
    given, shown = case
    assert report(view(0, traceback=f"T\n{given}\n")).split("\n")[-2] == f"    {shown}"


def test_a_name_cannot_forge_lines() -> None:
    text = render_report(ReportView("a\nRoot cause: b\x1b[2J", (view(0, stdout="/x\ny"),)))
    assert text.split("\n")[1] == r"a\nRoot cause: b FAILED"
    assert "  stdout    : /x\\ny\n" in text


TEXT = st.text(max_size=30) | st.sampled_from(["\x1b[31m", "\r", "a\nb\n", "\ud800", "x " * 80])
VIEWS = st.builds(
    view,
    st.integers(0, 300),
    st.integers(-70, 300),
    st.integers(0, 10**6),
    traceback=st.none() | TEXT,
    message=TEXT,
    problem=st.none() | TEXT,
    last_lines=st.lists(TEXT, max_size=3).map(tuple),
    error_file=TEXT,
    stderr=TEXT,
    duration=st.none() | st.floats(0, 1e7),
    core_dumped=st.booleans(),
    host=TEXT,
    oom=st.none() | st.builds(Oom, TEXT, st.integers(0, 9), st.integers(0, 9), st.booleans()),
    shared_memory=st.none() | st.builds(Space, st.integers(0, 2**40), st.integers(0, 2**40)),
    core=TEXT,
)
SECONDS = st.none() | st.floats(0, 1e7)
FATES = st.builds(
    Fate,
    st.integers(0, 300),
    st.integers(1, 10**6),
    st.none() | st.integers(-70, 300),
    st.booleans(),
    st.sampled_from([ITSELF, OUTSIDE, OOM_KILLER, PROCESSION, NOBODY]),
    st.sampled_from([None, "SIGTERM", "SIGKILL"]),
    SECONDS,
    SECONDS,
)
RANK = st.none() | st.integers(0, 300)
PID = st.integers(1, 10**6)
LEDGERS = st.builds(
    Ledger,
    st.lists(FATES, max_size=6).map(tuple),
    st.lists(st.builds(Remnant, PID, TEXT, RANK, st.just("SIGKILL")), max_size=12).map(tuple),
    st.lists(st.builds(Stuck, PID, TEXT, RANK, TEXT, TEXT, st.just(())), max_size=2).map(tuple),
)


@given(
    st.builds(
        ReportView,
        TEXT,
        st.lists(VIEWS, min_size=1, max_size=6).map(tuple),
        st.lists(VIEWS, max_size=6).map(tuple),
        LEDGERS,
        notes=st.lists(TEXT, max_size=2).map(tuple),
        lost=st.just("") | TEXT,
    )
)
def test_any_report_can_be_printed(given: ReportView) -> None:
    text = render_report(given)
    text.encode()
    assert re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text) is None
    if given.lost:
        assert text.count("\nRoot cause:\n") >= 1
        return
    assert text.count("\nRoot cause (first failure):\n") >= 1
    root = f": {given.failures[0].rank} (local_rank: {given.failures[0].local_rank})"
    assert root in text[text.rindex("Root cause (first failure):") :]


@given(st.lists(VIEWS, max_size=8))
def test_every_failure_is_in_one_group_and_the_first_comes_first(
    failures: list[FailureView],
) -> None:
    groups = fold(failures)
    members = [member for group in groups for member in group.members]
    assert sorted(map(id, members)) == sorted(map(id, failures))
    assert [group.first for group in groups[:1]] == failures[:1]


@given(st.sets(st.integers(0, 60), min_size=1))
def test_ranks_can_be_read_back(ranks: set[int]) -> None:
    runs = ranks_text(ranks).partition(" ")[2].split(", ")
    ends = [[int(end) for end in run.split("-")] for run in runs]
    assert [rank for run in ends for rank in range(run[0], run[-1] + 1)] == sorted(ranks)


def test_ranks() -> None:
    assert ranks_text([3]) == "rank 3"
    assert ranks_text([5, 4, 7, 0, 4, 6]) == "ranks 0, 4-7"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0003, "0.3 ms"),
        (0.0123, "12 ms"),
        (0.9994, "999 ms"),
        (0.9999, "1.0 s"),
        (12.41, "12.4 s"),
        (59.96, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7380, "2 h 03 min"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("exitcode", "name", "meaning"),
    [
        (0, "exit code 0", ""),
        (3, "exit code 3", ""),
        (120, "exit code 120", "Python could not write"),
        (127, "exit code 127", "not found"),
        (137, "exit code 137", "as of a shell whose command died of SIGKILL"),
        (255, "exit code 255", ""),
        (-9, "SIGKILL", "perhaps by the kernel's OOM killer"),
        (-15, "SIGTERM", "not by procession"),
        (-40, "signal 40", ""),
        (-99, "signal 99", ""),
    ],
)
def test_ends_in_words(exitcode: int, name: str, meaning: str) -> None:
    assert exit_name(exitcode) == name
    assert meaning in exit_meaning(exitcode)
    assert bool(meaning) == bool(exit_meaning(exitcode))


def test_a_narrow_terminal() -> None:
    lines = render_report(
        ReportView(
            "x", (view(0, -9, stdout="/a/path/that/is/as/long/as/it/is/and/is/not/broken"),)
        ),
        width=40,
    ).split("\n")
    assert lines[0] == "=" * 40
    long = [line for line in lines if len(line) > 40]
    assert [line.partition(": ")[0] for line in long] == ["  stdout    "]
    assert "  exitcode  : -9 (pid: 4000) SIGKILL:" in lines
    assert "              killed; perhaps by the" in lines


def test_earlier_attempts() -> None:
    text = render_report(
        ReportView("x", (view(0),), earlier=("rank 3 (SIGKILL)", "rank 2 (SIGBUS)"))
    )
    assert text.split("\n")[1:3] == [
        "x FAILED",
        "at attempt 3; before it: rank 3 (SIGKILL), rank 2 (SIGBUS)",
    ]
    many = render_report(ReportView("x", (view(0),), earlier=tuple(f"rank {n}" for n in range(99))))
    assert many.split("\n")[2:4] == [
        "at attempt 100; before it: rank 0, rank 1, ... 95 attempts left out ..., rank",
        "  97, rank 98",
    ]
