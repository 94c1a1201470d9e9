"""The stop file: workers that are asked to end, and do it in their own time."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

LOOP = """\
import os, signal, sys, time
stop = os.environ["PROCESSION_STOP_FILE"]
{}
print("ready", flush=True)
while not os.path.exists(stop):
    time.sleep(0.005)
open("saved" + os.environ["RANK"] + os.environ["TORCHELASTIC_RESTART_COUNT"], "w").close()
sys.exit({})
"""


@pytest.fixture
def looping(here: Any) -> Any:
    """Start two ranks that train until the stop file is there, and then leave with a status."""

    def start(*words: str, status: object = 0, before: str = "") -> Any:
        here.file("s.py", LOOP.format(before, status))
        process = here.start("-n", "2", *words, "s.py")
        for _ in range(2):
            assert process.stdout.readline().endswith("ready\n")
        return process

    return start


def saved(here: Any) -> list[str]:
    return sorted(path.name for path in here.directory.glob("saved*"))


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGUSR2"])
def test_a_forwarded_signal_makes_it(name: str, here: Any, looping: Any) -> None:
    process = looping()
    process.send_signal(signal.Signals[name])
    ended = here.end(process)
    file = (ended.runs / "latest").resolve() / "stop"
    assert ended.code == 0
    assert ended.err == f"procession: {name}: {file} asks the workers to end\n"
    assert saved(here) == ["saved00", "saved10"]
    assert ended.report["stop_file"] == str(file)
    assert (ended.report["origin"], ended.report["exit_code"]) == ("worker", 0)


def test_who_leaves_with_a_status_is_not_started_again(here: Any, looping: Any) -> None:
    process = looping("--max-restarts", "3", status=75)
    process.send_signal(signal.SIGUSR1)
    ended = here.end(process)
    assert ended.code == 75
    assert re.search(
        r"^procession: rank \d left \(exit code 75\) after the stop file was made; "
        "no further attempt$",
        ended.err,
        re.MULTILINE,
    )
    assert {name[-1] for name in saved(here)} == {"0"}, ended.err
    assert ended.report["earlier_attempts"] == []


def test_who_crashes_is_started_again_and_sees_the_file(here: Any, looping: Any) -> None:
    crash = "1 // int(os.environ['TORCHELASTIC_RESTART_COUNT']) - 1"
    process = looping("--max-restarts", "1", status=crash)
    process.send_signal(signal.SIGUSR1)
    ended = here.end(process)
    assert ended.code == 0
    assert "attempt 2 of 2: " in ended.err
    assert [name for name in saved(here) if name.endswith("1")] == ["saved01", "saved11"]


def test_sigterm_may_ask_first(here: Any, looping: Any) -> None:
    """As a pod or a job that is to be preempted wants it: the grace is the platform's."""
    process = looping("--stop-file-on", "SIGTERM")
    process.send_signal(signal.SIGTERM)
    ended = here.end(process)
    assert ended.code == 0
    assert saved(here) == ["saved00", "saved10"]
    assert ended.err.endswith("asks the workers to end; a further SIGTERM stops them\n")


def test_a_second_sigterm_stops_those_who_do_not_look(here: Any) -> None:
    here.file("s.py", "import signal\nprint('ready', flush=True)\nwhile True: signal.pause()")
    process = here.start("-n", "2", "--stop-file-on", "SIGTERM", "s.py")
    for _ in range(2):
        assert process.stdout.readline().endswith("ready\n")
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert "asks the workers" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)  # an echo: timeout(1) and schedulers send two
    if time.monotonic() - asked < 0.5:  # else the machine has paused, and it is none
        with pytest.raises(TimeoutError):
            _wait(process, 1.2)
        process.send_signal(signal.SIGTERM)
    ended = here.end(process)
    assert ended.code == 143
    assert "SIGTERM: the workers get SIGTERM" in ended.err


def _wait(process: Any, seconds: float) -> None:
    """Wait for an end that is not to come, and by the way until the echo is over."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise TimeoutError from None


def test_workers_that_catch_it_get_the_signal_too(here: Any) -> None:
    here.file(
        "s.py",
        "import os, signal, time\n"
        "told = []\n"
        "signal.signal(signal.SIGTERM, lambda number, _: told.append(number))\n"
        "print('ready', flush=True)\n"
        "while not (told and os.path.exists(os.environ['PROCESSION_STOP_FILE'])): time.sleep(0.005)\n"
        "print('told', flush=True)\n",
    )
    process = here.start("-n", "2", "--stop-file-on", "SIGTERM,SIGUSR1", "s.py")
    for _ in range(2):
        assert process.stdout.readline().endswith("ready\n")
    process.send_signal(signal.SIGTERM)
    ended = here.end(process)
    assert sorted(ended.out.splitlines()) == ["[default0]:told", "[default1]:told"]
    assert ended.code == 0


def test_it_may_be_switched_off(here: Any, looping: Any) -> None:
    process = looping("--stop-file-on", "")
    process.send_signal(signal.SIGUSR1)
    assert "SIGUSR1 was not passed on to local ranks [0, 1]" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    ended = here.end(process)
    assert ended.code == 143
    assert ended.report["stop_file"] is None
    assert saved(here) == []


def test_anybody_may_make_it(here: Any, looping: Any) -> None:
    process = looping()
    here.wait_for_run()  # the link is made when all workers run
    (here.directory / "procession-runs" / "latest" / "stop").touch()
    assert here.end(process).code == 0
    assert saved(here) == ["saved00", "saved10"]


def test_a_signal_before_there_are_workers(here: Any) -> None:
    """It waits for them: they find the file when they begin to look."""
    here.file("s.py", LOOP.format("", 0))
    process = here.start("-n", "2", "--max-restarts", "999", "s.py")
    while not (here.directory / "procession-runs").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGUSR1)
    assert here.end(process).code == 0
    assert saved(here) == ["saved00", "saved10"]


def test_a_run_without_a_directory(here: Any, looping: Any) -> None:
    process = looping("--log-dir", os.devnull)
    process.send_signal(signal.SIGUSR1)
    assert here.end(process).code == 0
    assert saved(here) == ["saved00", "saved10"]
    assert list(Path(here.environ["TMPDIR"]).glob("procession-*-stop")) == []


@pytest.mark.parametrize(
    ("words", "said"), [("SIGKILL", "no process can handle"), ("X", "no signal X")]
)
def test_signals_that_cannot_be(words: str, said: str, here: Any) -> None:
    ended = here.script("pass", "--stop-file-on", words)
    assert ended.code == 2
    assert said in ended.err
