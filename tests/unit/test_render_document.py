"""report.json: every key of the schema, in the types that its description gives."""

from __future__ import annotations

import json

from procession._os.memory import Oom, Space
from procession._report.document import report_json
from procession._report.ledger import PROCESSION, Fate, Ledger, Remnant, Stuck
from procession._report.view import FailureView, ReportView

KNOWN = FailureView(
    rank=9,
    local_rank=1,
    pid=77,
    exitcode=-11,
    timestamp_ns=1_700_000_000_000_000_001,
    time="2023-11-14_22:13:20.000000",
    host="node2",
    core_dumped=True,
    duration=1.5,
    message="ValueError: x",
    exception_type="ValueError",
    traceback="Traceback ...",
    last_lines=("a", "b"),
    error_file="/e",
    problem=None,
    stdout="/o",
    stderr="/s",
    oom=Oom("/cg/memory.events", 0, 1, sure=True),
    shared_memory=Space(1, 2),
    core="/c",
    hastened_by="SIGTERM",
)
BARE = FailureView(
    rank=0, local_rank=0, pid=78, exitcode=3, timestamp_ns=5, time="t", problem="torn"
)


def test_a_worker_failed() -> None:
    report = ReportView("train.py", (KNOWN,), (BARE,))
    written = report_json(report, origin="worker", exit_code=139, run_id="job", attempt=2)
    assert json.loads(json.dumps(written)) == written
    failure = {
        "rank": 9,
        "local_rank": 1,
        "host": "node2",
        "pid": 77,
        "exitcode": -11,
        "exit": "SIGSEGV",
        "core_dumped": True,
        "timestamp_ns": 1_700_000_000_000_000_001,
        "time": "2023-11-14_22:13:20.000000",
        "duration": 1.5,
        "error": {
            "message": "ValueError: x",
            "exception_type": "ValueError",
            "traceback": "Traceback ...",
        },
        "error_file": "/e",
        "error_file_problem": None,
        "last_lines": ["a", "b"],
        "stdout": "/o",
        "stderr": "/s",
        "oom": {"file": "/cg/memory.events", "before": 0, "now": 1, "sure": True},
        "shared_memory": {"free": 1, "size": 2},
        "core": "/c",
        "hastened_by": "SIGTERM",
        "doubt_ns": 0,
    }
    (stopped,) = written.pop("stopped")
    assert written == {
        "version": 1,
        "origin": "worker",
        "exit_code": 139,
        "name": "train.py",
        "run_id": "job",
        "attempt": 2,
        "message": "",
        "root_cause": failure,
        "failures": [failure],
        "ledger": {"workers": [], "swept": [], "stuck": []},
    }
    assert stopped.keys() == failure.keys()


def test_the_ledger() -> None:
    ledger = Ledger(
        (Fate(0, 78, 3, False, PROCESSION, "SIGTERM", 2.0, 0.5),),
        (Remnant(5, "sh", None, "SIGKILL"),),
        (Stuck(6, "python3", 0, "D (disk sleep)", "nfs_wait", ("nfs_wait+0x1", "sys_read")),),
    )
    written = report_json(ReportView("x", ledger=ledger), origin="signal", exit_code=143)["ledger"]
    assert json.loads(json.dumps(written)) == {
        "workers": [
            {
                "rank": 0,
                "pid": 78,
                "exitcode": 3,
                "core_dumped": False,
                "ended_by": "procession",
                "told": "SIGTERM",
                "lived": 2.0,
                "after": 0.5,
                "died_ns": 0,
            }
        ],
        "swept": [{"pid": 5, "name": "sh", "rank": None, "signal": "SIGKILL"}],
        "stuck": [
            {
                "pid": 6,
                "name": "python3",
                "rank": 0,
                "state": "D (disk sleep)",
                "wchan": "nfs_wait",
                "stack": ["nfs_wait+0x1", "sys_read"],
            }
        ],
    }


def test_what_is_not_known_is_null() -> None:
    written = report_json(ReportView("x", (BARE,)), origin="worker", exit_code=3)
    (failure,) = written["failures"]
    nulls = {key for key, value in failure.items() if value is None}
    traces = {"oom", "shared_memory", "core", "hastened_by"}
    assert nulls == {"duration", "error", "error_file", "stdout", "stderr"} | traces
    assert failure["exit"] == "exit code 3"
    assert failure["error_file_problem"] == "torn"


def test_the_end_of_a_run_without_a_failure() -> None:
    written = report_json(ReportView("x"), origin="signal", exit_code=143, message="SIGTERM")
    assert written["root_cause"] is None
    assert written["failures"] == written["stopped"] == []
    assert (written["origin"], written["message"]) == ("signal", "SIGTERM")
