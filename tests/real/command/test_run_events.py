"""``events.jsonl``: what has happened in a run, in torch's words, with the times of the events."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from procession.testing import wait_for_text

FAILS_ONCE = """\
import os, sys, time
if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    if os.environ["RANK"] == "1":
        raise ValueError("secret" * 9000)
    time.sleep(60)
"""


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def states(told: list[dict[str, Any]]) -> list[tuple[str, int | None]]:
    return [(each["metadata"]["state"], each["metadata"]["global_rank"]) for each in told]


def test_a_restart_is_told_in_order(here: Any) -> None:
    before = time.monotonic_ns(), time.time_ns()
    ended = here.script(FAILS_ONCE, "-n", "2", "--max-restarts", "1", "--rdzv-id", "job")
    assert ended.code == 0
    told = events(ended.runs / "latest" / "events.jsonl")
    assert states(told)[:6] == [
        ("START", 0),
        ("START", 1),
        ("FAILED", 1),
        ("STOPPING", None),
        ("TERMINATED", 0),
        ("RESTARTING", None),
    ]
    assert states(told)[6:8] == [("START", 0), ("START", 1)]
    assert sorted(states(told)[8:10]) == [("SUCCEEDED", 0), ("SUCCEEDED", 1)]
    assert states(told)[10:] == [("SUCCEEDED", None)]
    times = [each["metadata"]["monotonic_ns"] for each in told]
    assert times == sorted(times)
    assert before[0] < times[0]
    assert before[1] < told[0]["metadata"]["timestamp_ns"]
    assert [each["metadata"]["agent_restarts"] for each in told] == [0] * 5 + [1] * 6


def test_an_event_has_what_torchs_have(here: Any) -> None:
    ended = here.script(FAILS_ONCE, "-n", "2", "--rdzv-id", "job", "--role", "actor")
    told = {
        (each["metadata"]["state"], each["source"]): each
        for each in events(ended.runs / "latest" / "events.jsonl")
    }
    failed = told["FAILED", "WORKER"]
    assert failed["name"] == "torchelastic.worker.status.FAILED"
    assert failed["timestamp"] == failed["metadata"]["timestamp_ns"] // 10**6
    known = failed["metadata"]
    assert (known["run_id"], known["role"], known["hostname"]) == (
        "job",
        "actor",
        os.uname().nodename,
    )
    assert (known["global_rank"], known["group_rank"]) == (1, 0)
    details = json.loads(known["metadata"])
    assert details["exit_code"] == 1
    assert str(details["worker_pid"]) == known["worker_id"]
    assert details["entry_point"] == "s.py"
    assert known["duration_ms"] > 0
    error = json.loads(known["raw_error"])
    assert len(error["message"]["message"]) < 20_000  # all of it is in error.json
    end = told["FAILED", "AGENT"]["metadata"]
    assert end["raw_error"] == "rank 1: exit code 1"
    assert json.loads(end["metadata"])["exit_code"] == 1


def start_one(here: Any) -> Any:
    """Start a run of one worker that sleeps, and wait until that is told."""
    here.file("s.py", "import time; time.sleep(60)")
    process = here.start("-n", "1", "s.py")
    here.wait_for_run()
    wait_for_text(here.directory / "procession-runs" / "latest" / "events.jsonl", "START", 30)
    return process


def test_a_signal_is_told(here: Any) -> None:
    process = start_one(here)
    process.send_signal(signal.SIGTERM)
    ended = here.end(process)
    told = events(ended.runs / "latest" / "events.jsonl")
    expected = [("START", 0), ("STOPPING", None), ("TERMINATED", 0), ("FAILED", None)]
    assert states(told) == expected
    assert told[1]["metadata"]["raw_error"] == "SIGTERM"
    assert told[3]["metadata"]["raw_error"] == "SIGTERM ended the run"


def test_a_launcher_that_is_killed_leaves_what_it_knew(here: Any) -> None:
    process = start_one(here)
    process.kill()
    process.wait()
    told = events(here.directory / "procession-runs" / "latest" / "events.jsonl")
    assert states(told) == [("START", 0)]


@pytest.mark.parametrize("where", ["jsonl", "console"])
def test_events_go_elsewhere_too(where: str, here: Any) -> None:
    name = f"jsonl:{here.directory / 'all'}" if where == "jsonl" else where
    ended = here.script("", "--event-log-handler", name)
    own = (ended.runs / "latest" / "events.jsonl").read_text()
    other = (here.directory / "all").read_text() if where == "jsonl" else ended.err
    assert other == own


def test_another_file_that_cannot_be_written_is_said_once(here: Any) -> None:
    ended = here.script("", "--event-log-handler", "jsonl:/none/such")
    assert ended.code == 0
    assert ended.err == (
        "procession: /none/such could not be written: No such file or directory; no further events go "
        "there\n"
    )
    assert states(events(ended.runs / "latest" / "events.jsonl"))[-1] == ("SUCCEEDED", None)


def test_no_directory_no_file(here: Any) -> None:
    ended = here.script("", "--log-dir", "/dev/null")
    assert ended.code == 0
    assert ended.err == ""


def test_a_file_that_cannot_be_written_is_said_once(here: Any) -> None:
    ended = here.script(
        "import os\n"
        "run = os.path.dirname(os.environ['PROCESSION_STOP_FILE'])\n"
        "path = run + '/events.jsonl'\n"
        "while not os.path.exists(path): pass\n"
        "os.remove(path)\n"
        "os.mkdir(path)\n"
    )
    assert ended.code == 0
    assert ended.err.count("events.jsonl could not be written: Is a directory") == 1


CALLER = """
from procession import metrics
from procession.run import main
class Names(metrics.MetricHandler):
    def emit(self, data):
        print("metric", data.name, data.value > 0)
metrics.configure(Names(), group="torchelastic")
main(["--max-restarts", "1", "--role", "actor", "-n", "2", "s.py"])
"""


def test_who_asks_for_metrics_gets_them(here: Any) -> None:
    here.file("s.py", FAILS_ONCE)
    ended = here.end(here.start_argv([sys.executable, "-c", CALLER]))
    lines = [line.split()[1:] for line in ended.out.splitlines() if line.startswith("metric ")]
    numbers = {name.removeprefix("workers.actor."): value for name, value in lines}
    assert numbers == {
        "flakiness": "True",
        "run_total": "True",
        "run_success_with_retries": "True",
        "run_success_no_retries": "False",
        "run_failed_with_retries": "False",
        "run_failed_no_retries": "False",
        "SimpleElasticAgent.run.duration.ms": "True",
    }
