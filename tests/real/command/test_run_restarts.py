"""Which failures are followed by another attempt, when, and what is said of it: on one host."""

from __future__ import annotations

import re
import signal
import time
from typing import Any

import pytest

FAILS = """\
import os, signal, sys, time
attempt, rank = os.environ["TORCHELASTIC_RESTART_COUNT"], os.environ["RANK"]
if rank == "1":
    {}
time.sleep(60 * (rank == "0" and {}))
"""
KILLED = "os.kill(os.getpid(), signal.SIGKILL)"
RAISED = "raise ValueError('not ' + attempt)"
AT_A_PLACE_OF_ITS_OWN = "exec(chr(10) * int(attempt) + 'raise ValueError()')"


def attempts(ended: Any) -> int:
    """How many were made: a gang may be stopped before it has printed anything."""
    number = len(list((ended.runs / "latest").glob("attempt_*")))
    assert ended.report["attempt"] == number - 1
    return number


def said(ended: Any) -> list[str]:
    """Our own lines."""
    return [line[12:] for line in ended.err.splitlines() if line.startswith("procession: ")]


@pytest.mark.parametrize(
    ("deed", "words", "code", "made", "last"),
    [
        (KILLED, "", 137, 3, "attempt 3 of 3: rank 1 died of SIGKILL; restarting"),
        (
            KILLED,
            "--restart-on signal",
            137,
            3,
            "attempt 3 of 3: rank 1 died of SIGKILL; restarting",
        ),
        (KILLED, "--restart-on oom", 137, 1, "not among --restart-on oom"),
        (KILLED, "--no-restart-on 137", 137, 1, "no further attempt: --no-restart-on 137"),
        ("sys.exit(75)", "--restart-on 70-79", 75, 3, "rank 1 failed (exit code 75); restarting"),
        (
            RAISED,
            "--no-restart-on exception:ValueError",
            1,
            1,
            "--no-restart-on exception:ValueError",
        ),
        (
            RAISED,
            "--no-restart-on exception:TypeError",
            1,
            3,
            "rank 1 raised ValueError; restarting",
        ),
        (
            RAISED,
            *("--no-restart-on same-traceback", 1, 2),
            "rank 1 raised ValueError; no further attempt: --no-restart-on same-traceback (s.py:4)",
        ),
        (AT_A_PLACE_OF_ITS_OWN, "--no-restart-on same-traceback", 1, 3, "restarting"),
    ],
)
def test_the_policy_decides(
    here: Any, deed: str, words: str, code: int, made: int, last: str
) -> None:
    ended = here.script(
        FAILS.format(deed, "True"), *("-n", "2", "--max-restarts", "2"), *words.split()
    )
    assert ended.code == code
    assert attempts(ended) == made
    assert said(ended)[-1].endswith(last)
    assert ended.report["exit_code"] == code


def test_long_work_refills_the_budget(here: Any) -> None:
    deed = "time.sleep(0.2); sys.exit(attempt < '3')"
    ended = here.script(
        FAILS.format(deed, "attempt < '3'"),
        *("-n", "2", "--max-restarts", "1", "--restart-refill", "100ms"),
    )
    assert ended.code == 0
    assert attempts(ended) == 4
    first, *others = said(ended)
    assert first == "attempt 2 of 2: rank 1 failed (exit code 1); restarting"
    assert len(others) == 2
    counted = r"attempt 2 of 2 \(counted anew after [\d.]+ \w+\): rank 1 failed .*; restarting"
    assert all(re.fullmatch(counted, line) for line in others)


def test_a_pause_before_each_attempt(here: Any) -> None:
    began = time.monotonic()
    ended = here.script(
        FAILS.format(KILLED, "True"),
        *("-n", "2", "--max-restarts", "2", "--restart-backoff", "400ms:1s"),
    )
    assert time.monotonic() - began > 0.75 * (0.4 + 0.8)
    assert ended.code == 137
    times = [float(line.split()[-2]) for line in said(ended)[:2]]
    assert 0.3 <= times[0] <= 0.4
    assert 0.6 <= times[1] <= 0.8


def test_a_signal_ends_a_pause(here: Any) -> None:
    here.file("s.py", FAILS.format(KILLED, "True"))
    words = ("--max-restarts", "2", "--restart-backoff", "10m", "s.py")
    process = here.start("-n", "2", *words)
    assert "restarting in" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    ended = here.end(process)  # within 30 s
    assert ended.code == 130
    assert said(ended) == ["SIGINT ended the run"]
    assert attempts(ended) == 1
    assert ended.report["root_cause"]["rank"] == 1


def test_a_signal_that_ends_nothing_does_not_shorten_a_pause(here: Any) -> None:
    here.file("s.py", FAILS.format(KILLED, "True"))
    words = ("--max-restarts", "1", "--restart-backoff", "2s", "s.py")
    began = time.monotonic()
    process = here.start("-n", "2", *words)
    assert "restarting in" in process.stderr.readline()
    for _ in range(5):
        process.send_signal(signal.SIGUSR1)
    ended = here.end(process)
    assert time.monotonic() - began >= 1.5
    assert attempts(ended) == 2


def test_a_guardian_that_was_killed(here: Any) -> None:
    deed = "os.kill(os.getppid(), signal.SIGKILL) if attempt == '0' else sys.exit(0)"
    ended = here.script(FAILS.format(deed, "attempt == '0'"), "-n", "2", "--max-restarts", "1")
    assert ended.code == 0
    assert attempts(ended) == 2
    assert said(ended)[-1] == "attempt 2 of 2: the guardian of the workers was killed; restarting"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--restart-on", "SIGKIL"), "SIGKIL is no such class of failures. Did you mean SIGKILL?"),
        (("--no-restart-on", "300"), "300 is no exit status of a failure"),
        (("--restart-backoff", "60s:1s"), "give MIN:MAX"),
        (("--restart-refill", "soon"), "give a time such as 30m"),
    ],
)
def test_a_policy_that_cannot_be(here: Any, words: tuple[str, str], message: str) -> None:
    ended = here.script("", *words)
    assert ended.code == 2
    assert ended.err.startswith(f"procession: {words[0]} {words[1]}: ")
    assert message in ended.err
    assert not ended.runs.exists()
