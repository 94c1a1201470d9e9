"""The report over hosts: what a host tells comes back as it was, whatever comes is read, one report of all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession._os.memory import Oom, Space
from procession._report.document import report_json
from procession._report.hosts import hosts_json, read_whole, report_of
from procession._report.ledger import ITSELF, Fate, Ledger, Remnant, Stuck
from procession._report.render import render_report
from procession._report.stories import LIMIT, Story, read_story, write_story
from procession._report.view import FailureView, ReportView
from procession._report.weight import KILLED, OWN_ERROR, PEER_LOST, weight

SECOND = 10**9
FAILED = FailureView(
    rank=9,
    local_rank=1,
    pid=77,
    exitcode=-11,
    timestamp_ns=100 * SECOND,
    time="2023-11-14_22:13:20.000000",
    host="gpu2",
    core_dumped=True,
    duration=1.5,
    message="ValueError: x",
    exception_type="ValueError",
    traceback='Traceback ...\n  File "t.py"\nValueError: x',
    last_lines=("a", "b"),
    error_file="/e",
    problem="torn",
    stdout="/o",
    stderr="/s",
    oom=Oom("/cg/memory.events", None, 1, sure=True),
    shared_memory=Space(1, 2),
    core="/c",
    hastened_by="SIGTERM",
)
LEDGER = Ledger(
    (Fate(9, 77, -11, True, ITSELF, None, 1.5, None, died_ns=2**40), Fate(8, 76, None)),
    (Remnant(5, "sleep", None, "SIGTERM"), Remnant(6, "sh", 9, "SIGKILL")),
    (Stuck(7, "nfs", 8, "D (disk sleep)", "nfs_wait", ("a", "b")),),
)


def test_a_story_comes_back() -> None:
    stopped = FAILED._replace(last_lines=())
    story = read_story(write_story(ReportView("t.py", (FAILED,), (stopped,), LEDGER)))
    assert story == Story((FAILED,), (stopped,), LEDGER)


def test_a_long_story_is_cut_and_its_errors_end_is_kept() -> None:
    long = FAILED._replace(traceback="frame\n" * 50_000 + "ValueError: the end")
    many = tuple(long._replace(rank=rank) for rank in range(100))
    text = write_story(ReportView("t.py", many))
    assert len(text) <= LIMIT
    failures = read_story(text).failures
    assert failures[0].rank == 0
    assert (failures[0].traceback or "").endswith("ValueError: the end")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=20,
)
ROWS = st.lists(
    st.dictionaries(st.sampled_from([*FAILED._asdict(), "error", "told", "name"]), JSON)
)


@given(
    st.dictionaries(st.sampled_from(["failures", "stopped", "ledger", "workers"]), JSON | ROWS)
    | JSON
)
def test_whatever_comes_is_read(data: Any) -> None:
    story = read_story(json.dumps(data))
    render_report(ReportView("t.py", story.failures, story.stopped, story.ledger, lost="lost gpu3"))


@given(
    st.dictionaries(
        st.sampled_from(["root", "by", "rivals", "hosts"]), JSON | st.lists(st.just({})) | ROWS
    )
    | JSON
)
def test_whatever_comes_of_all_hosts_is_read(data: Any) -> None:
    whole = read_whole(json.dumps(data))
    report_of(whole, "t.py", "lost")
    json.dumps(hosts_json(whole))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '{"hosts": {"a": 1}}'])
def test_nonsense_is_nothing(text: str) -> None:
    assert read_story(text) == Story()
    assert read_whole(text).hosts == ()


def host(name: str, *views: FailureView, ahead: int | None = 0, **kw: Any) -> dict[str, Any]:
    ledger = Ledger(tuple(Fate(v.rank, v.pid, v.exitcode) for v in views))
    return {
        "host": name,
        "fate": "failed",
        "ahead_ns": ahead,
        "doubt_ns": None if ahead is None else 300_000,
        "text": "",
        "story": write_story(ReportView("t.py", views, ledger=ledger)),
        **kw,
    }


def failure(rank: int, name: str, at: float, exitcode: int = 3, **kw: Any) -> FailureView:
    ns = round(at * SECOND)
    return FailureView(rank, 0, 70 + rank, exitcode, ns, f"at {at}", name, **kw)


def text_of(root: int | None, *hosts: dict[str, Any], by: str = "clocks", **kw: Any) -> str:
    told = json.dumps({"root": root, "by": by, "rivals": [], "hosts": hosts, **kw})
    lines = render_report(report_of(read_whole(told), "t.py", "lost gpu3: nothing was heard"))
    return " ".join(lines.split())


FIRST = failure(0, "gpu1", 100.02)
SECOND_HOST = failure(1, "gpu2", 107.0, exitcode=-9)


def test_times_are_those_of_one_clock() -> None:
    text = text_of(1, host("gpu1", FIRST), host("gpu2", SECOND_HOST, ahead=7 * SECOND))
    assert "2 hosts: failed on gpu1, gpu2" in text
    assert "the clock of gpu1 is 7.000 s behind that of gpu2 (± 0.6 ms)" in text
    assert "rank 0 on gpu1 (pid: 70), 20 ms after the root cause (± 0.6 ms):" in text
    root = text.partition("Root cause (first failure):")[2]
    assert "time : at 107.0 host : gpu2 rank : 1" in root


def test_clocks_that_agree() -> None:
    text = text_of(0, host("gpu1", FIRST), host("gpu2", SECOND_HOST, ahead=9000))
    assert "the clocks of gpu2 and gpu1 agree within 0.6 ms" in text


def test_clocks_that_were_not_compared() -> None:
    text = text_of(
        1, host("gpu1", FIRST, ahead=None), host("gpu2", SECOND_HOST), by="order", rivals=[0]
    )
    assert "the clocks of gpu1 and gpu2 could not be compared" in text
    assert "rank 0 on gpu1 (pid: 70), at a time that cannot be compared:" in text
    assert "rank 1 is taken for the root cause because the others were told of it first" in text


@pytest.mark.parametrize(
    ("by", "why"),
    [
        ("evidence", "because a signal ended it, and the others may come of that"),
        ("order", "because its time is the first"),
    ],
)
def test_what_clocks_cannot_tell_is_said(by: str, why: str) -> None:
    earlier = failure(0, "gpu1", 99.9999)
    killed = SECOND_HOST._replace(timestamp_ns=107 * SECOND)
    text = text_of(
        1, host("gpu1", earlier), host("gpu2", killed, ahead=7 * SECOND), by=by, rivals=[0]
    )
    assert "which was first, rank 1 on gpu2 or the failure on gpu1, cannot be told by" in text
    assert why in text
    assert "rank 0 on gpu1 (pid: 70), 0.1 ms before the root cause (± 0.6 ms):" in text


def test_a_lost_host_is_the_cause() -> None:
    victim = failure(0, "gpu1", 100, traceback="ConnectionResetError: peer")
    text = text_of(None, host("gpu1", victim), host("gpu3", fate="lost", story=""))
    assert "2 hosts: failed on gpu1; lost gpu3" in text
    assert "Other failures: rank 0 on gpu1 (pid: 70): exitcode" in text
    assert text.endswith(f"Root cause: lost gpu3: nothing was heard {'=' * 79}")


def test_for_programs_a_lost_host_is_no_workers_failure() -> None:
    view = ReportView("t.py", (FIRST,), lost="lost gpu3")
    document = report_json(view, origin="worker", exit_code=1)
    assert document["root_cause"] is None
    assert len(document["failures"]) == 1


def test_a_story_that_did_not_fit_is_said() -> None:
    text = text_of(0, host("gpu1", FIRST), host("gpu2", SECOND_HOST, story=""))
    assert "gpu2 had more to tell than fits: see report.json there" in text


def test_hosts_for_programs() -> None:
    told = json.dumps({"root": 0, "hosts": [host("gpu1", FIRST, ahead=-5)]})
    assert hosts_json(read_whole(told)) == [
        {
            "host": "gpu1",
            "group_rank": 0,
            "fate": "failed",
            "clock_ahead_ns": -5,
            "clock_doubt_ns": 300_000,
            "ranks": [0],
            "message": "",
            "complete": True,
        }
    ]


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"exitcode": -9}, KILLED),
        ({"exitcode": -11}, KILLED),
        ({"exitcode": 137}, KILLED),
        ({"exitcode": 3}, OWN_ERROR),
        ({"exitcode": -15, "hastened_by": "SIGTERM"}, OWN_ERROR),
        (
            {"exitcode": -15, "traceback": "ValueError: x", "exception_type": "ValueError"},
            OWN_ERROR,
        ),
        ({"traceback": "ConnectionResetError: [Errno 104]"}, PEER_LOST),  # torch tells no type
        ({"traceback": "torch.distributed.DistNetworkError: x"}, PEER_LOST),
        ({"traceback": "ValueError: ConnectionResetError"}, OWN_ERROR),
        (
            {"traceback": "...\nRuntimeError: [gloo] Connection closed by peer [10.0.0.1]"},
            PEER_LOST,
        ),
        ({"traceback": "ConnectionError: x\nduring\nValueError: bad batch"}, OWN_ERROR),
        ({"exception_type": "ConnectionResetError", "traceback": "x"}, PEER_LOST),
        ({"exception_type": "DistBackendError", "traceback": "x"}, PEER_LOST),
        (
            {
                "exitcode": -6,
                "last_lines": ("[Rank 1] Watchdog caught collective operation timeout",),
            },
            PEER_LOST,
        ),
        ({"exitcode": 1, "last_lines": ("solver: broken pipe",)}, PEER_LOST),
    ],
)
def test_what_a_failure_tells(known: dict[str, Any], expected: int) -> None:
    assert weight(failure(0, "a", 1)._replace(**{"exitcode": 1, **known})) == expected
