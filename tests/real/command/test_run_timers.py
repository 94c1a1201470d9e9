"""``TORCHELASTIC_ENABLE_FILE_TIMER=1 procession run``: who is stuck in a timed block is ended, and named."""

from __future__ import annotations

import os
from typing import Any

STUCK = """
import os, time
from procession import timer
timer.configure(timer.FileTimerClient(os.environ["TORCHELASTIC_TIMER_FILE"]))
with timer.expires(after=600, scope="harmless"):
    pass
if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    with timer.expires(after=0.2, scope="all_reduce"):
        time.sleep(600)
print("left")
"""
ASKED = {"TORCHELASTIC_ENABLE_FILE_TIMER": "1"}


def test_a_stuck_worker_is_ended_and_the_gang_starts_again(here: Any) -> None:
    ended = here.script(STUCK, "-n", "2", "--max-restarts", "1", environ=ASKED)
    assert ended.code == 0, ended.err
    assert ended.out.count("left") >= 2
    failed = ended.report["earlier_attempts"][0]["root_cause"]
    assert (failed["rank"], failed["exit"]) == (1, "SIGKILL")
    assert "its timer all_reduce had run out" in failed["error"]["message"]
    assert not [name for name in os.listdir(here.directory.parent) if name.startswith("watchdog")]


def test_the_report_names_the_timer(here: Any) -> None:
    ended = here.script(STUCK, "-n", "2", environ=ASKED)
    assert ended.code == 137
    assert "its timer all_reduce had run out" in ended.err


def test_who_has_not_asked_has_no_server(here: Any) -> None:
    ended = here.script('import os\nprint(os.environ.get("TORCHELASTIC_TIMER_FILE"))')
    assert (ended.code, ended.out.partition("]:")[2]) == (0, "None\n")
