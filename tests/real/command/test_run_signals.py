"""Signals to ``procession run``, from other processes and from a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from procession.testing import wait_for_text, wait_gone

WAIT = """\
import os, signal, sys
{}
print("ready", flush=True)
while True: signal.pause()
"""


@pytest.fixture
def ready(here: Any) -> Any:
    """Start a script on ranks that get ready and then wait for signals."""

    def start(text: str, *words: str, ranks: int = 2, **kw: Any) -> Any:
        here.file("s.py", WAIT.format(text))
        process = here.start("-n", str(ranks), *words, "s.py", **kw)
        for _ in range(ranks):
            assert process.stdout.readline().endswith("ready\n")
        return process

    return start


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"])
def test_a_signal_ends_the_run(name: str, here: Any, ready: Any) -> None:
    process = ready("")
    process.send_signal(signal.Signals[name])
    ended = here.end(process)
    assert ended.code == 128 + signal.Signals[name]
    assert ended.err.splitlines() == [
        f"procession: {name}: the workers get SIGTERM, and SIGKILL after 30 s; "
        "a further signal kills them at once",
        f"procession: {name} ended the run",
    ]
    report = ended.report
    assert (report["origin"], report["exit_code"]) == ("signal", ended.code)
    assert report["message"] == f"{name} ended the run"


def test_also_if_workers_leave_with_zero(here: Any, ready: Any) -> None:
    process = ready("signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))")
    process.send_signal(signal.SIGTERM)
    assert here.end(process).code == 143


def test_workers_have_their_grace_and_no_more(here: Any, ready: Any) -> None:
    leave = "signal.signal(signal.SIGTERM, lambda *_: (open('saved', 'w'), os._exit(0)))"
    stay = "signal.signal(signal.SIGTERM, lambda *_: None)"
    process = ready(f"{leave} if os.environ['RANK'] == '0' else {stay}", "--shutdown-timeout", "3")
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    ended = here.end(process)
    assert ended.code == 143
    assert 2.9 < time.monotonic() - start < 28
    assert (here.directory / "saved").exists()


def test_a_grace_of_nothing_kills_at_once(here: Any, ready: Any) -> None:
    save = "signal.signal(signal.SIGTERM, lambda *_: open('saved', 'w'))"
    process = ready(save, "--shutdown-timeout", "0")
    process.send_signal(signal.SIGTERM)
    ended = here.end(process)
    assert ended.code == 143
    workers = ended.report["ledger"]["workers"]
    assert [(each["exitcode"], each["told"]) for each in workers] == [(-9, "SIGKILL")] * 2
    assert not (here.directory / "saved").exists()


def test_an_endless_grace_is_endless_only_until_a_further_signal(here: Any, ready: Any) -> None:
    deaf = "signal.signal(signal.SIGTERM, lambda *_: os.write(1, b'deaf\\n'))"
    tell = "open('meek', 'w').write(str(os.getpid()))"
    process = ready(f"{deaf} if os.environ['RANK'] == '0' else {tell}", "--shutdown-timeout", "inf")
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline().endswith("deaf\n")
    assert wait_gone([int((here.directory / "meek").read_text())]) == []
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.2)  # and the first signal's echo is over
    process.send_signal(signal.SIGHUP)
    ended = here.end(process)
    assert ended.code == 143
    told = [each["told"] for each in ended.report["ledger"]["workers"]]
    assert told == ["SIGKILL", "SIGTERM"]


def test_a_further_signal_ends_the_grace(here: Any, ready: Any) -> None:
    stay = "signal.signal(signal.SIGTERM, lambda *_: os.write(1, b'deaf\\n'))"
    process = ready(stay, "--shutdown-timeout", "inf", ranks=1)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline().endswith("deaf\n")
    time.sleep(1.1)  # a second signal counts as such from a second after the first
    process.send_signal(signal.SIGTERM)
    assert here.end(process).code == 130


def test_signals_that_are_passed_on(here: Any, ready: Any) -> None:
    process = ready("signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b'checkpoint\\n'))")
    process.send_signal(signal.SIGUSR1)
    said = sorted(process.stdout.readline() for _ in range(2))
    assert said == ["[default0]:checkpoint\n", "[default1]:checkpoint\n"]
    process.send_signal(signal.SIGTERM)
    assert here.end(process).code == 143


def test_a_signal_that_is_handled_is_not_passed_on(here: Any, ready: Any) -> None:
    process = ready("", "--signals-to-handle", "SIGUSR1", ranks=1)
    process.send_signal(signal.SIGUSR1)
    assert here.end(process).code == 128 + signal.SIGUSR1


def test_under_nohup_itself(here: Any) -> None:
    here.file("s.py", WAIT.format(""))
    argv = ["nohup", sys.executable, "-m", "procession", "run", "-n", "2", "s.py"]
    process = here.start_argv(argv)
    for _ in range(2):
        assert process.stdout.readline().endswith("ready\n")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGTERM)
    ended = here.end(process)
    assert (ended.code, ended.report["message"]) == (143, "SIGTERM ended the run")


def test_nohup(here: Any, ready: Any) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = ready("", preexec_fn=ignore)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert here.end(process).code == 143


def test_a_launcher_that_is_killed_leaves_nobody(here: Any, ready: Any) -> None:
    process = ready("import subprocess; subprocess.Popen(['setsid', 'sleep', '60'])")
    here.wait_for_run()
    run = (here.directory / "procession-runs" / "latest").resolve()
    wait_for_text(run / "report.json", '"state": "running"')
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30
    while here.left() and time.monotonic() < deadline:
        time.sleep(0.02)  # the end of processes that are not ours to wait for
    assert here.left() == []
    assert '"state": "running"' in (run / "report.json").read_text()
    assert here.script("pass", "--keep-runs", "1", name="next.py").code == 0
    assert not run.exists()


def test_no_restart_after_a_signal(here: Any, ready: Any) -> None:
    process = ready("signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))", "--max-restarts", "5")
    process.send_signal(signal.SIGTERM)
    ended = here.end(process)
    assert ended.code == 143
    assert "starts" not in ended.err


def test_what_the_report_says_is_what_it_ends_with(here: Any) -> None:
    """A signal that comes while the person is being told of the end changes nothing any more."""
    here.file("s.py", "raise SystemExit(3)")
    with full_pipe() as (reading, writing):
        process = here.start("-r", "3", "s.py", stderr=writing)
        os.close(writing)
        here.wait_for_run()
        wait_for_text(here.directory / "procession-runs" / "latest" / "report.json", '"ended"')
        process.send_signal(signal.SIGTERM)
        while os.read(reading, 65536):  # now it can tell
            pass
    ended = here.end(process)
    assert (ended.code, ended.report["exit_code"], ended.report["origin"]) == (3, 3, "worker")


def test_the_first_signal_is_the_reason_whatever_comes_after_it(here: Any) -> None:
    """Others come when the workers are gone and the person is being told how: too late to change it."""
    here.file("s.py", WAIT.format("signal.signal(15, signal.SIG_IGN); print(os.getpid())"))
    with full_pipe() as (reading, writing):
        process = here.start("--shutdown-timeout", "0", "s.py", stderr=writing)
        os.close(writing)
        worker = int(process.stdout.readline().partition(":")[2])
        assert process.stdout.readline().endswith("ready\n")
        process.send_signal(signal.SIGTERM)
        assert wait_gone([worker]) == []
        for _ in range(20):
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.05)  # it says for seconds what became of the worker
        while os.read(reading, 65536):
            pass
    ended = here.end(process)
    assert (ended.code, ended.report["message"]) == (143, "SIGTERM ended the run")
    assert ended.report["ledger"]["workers"][0]["told"] == "SIGKILL"


FLOOD = """\
import os, signal
line = b"x" * 1023 + b"\\n"
for _ in range(24):
    os.write(1, line * 1024)
open("flooded", "w").write("yes")
signal.pause()
"""


def test_a_further_signal_ends_what_a_slow_console_has_yet_to_show(here: Any) -> None:
    """It takes a byte now and then, and would go on doing so for minutes; the file has all."""
    here.file("s.py", FLOOD)
    reading, writing = os.pipe()
    process = here.start("s.py", stdout=writing)
    os.close(writing)

    over = threading.Event()

    def read_slowly() -> None:
        with open(reading, "rb", buffering=0) as pipe:
            while pipe.read(4096):
                over.wait(0.01)

    reader = threading.Thread(target=read_slowly)
    reader.start()
    wait_for_text(here.directory / "flooded", "yes")
    until = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < until:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    if process.poll() is None:
        process.kill()
    over.set()
    reader.join()
    ended = here.end(process)
    assert ended.code == 143
    log = ended.logs(0) / "stdout.log"
    assert re.search(
        rf"^\d+ bytes of {log.resolve()} were not shown: a signal came$", ended.err, re.MULTILINE
    )
    assert log.stat().st_size == 24 << 20


INTERRUPTED = """\
import os, signal, weakref
from procession.cli.main import command
from procession.cli.options import reading

class Lock:
    pass

def parse_args(words):
    lock = Lock()
    reference = weakref.ref(lock, lambda _: os.kill(os.getpid(), signal.SIGINT))
    del lock
    return parse(words)

parse, reading.parse_args = reading.parse_args, parse_args
command()
"""


def test_an_interrupt_while_the_command_gets_ready(here: Any) -> None:
    """Python raises it where it is lost, as in the lock of an import: in the callback of a weak reference."""
    here.file("interrupted.py", INTERRUPTED)
    here.file("s.py", "")
    process = here.start_argv([sys.executable, "interrupted.py", "run", "s.py"])
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == -signal.SIGINT
    assert here.left_in_time() == []
    assert not (here.directory / "procession-runs").exists()


PLUG_IN = """\
import sys, threading
threading.Thread(target=threading.Event().wait).start()  # as one that has forgotten it
from procession.cli.main import command
sys.argv[1:] = ["run", "-r", "3", "s.py"]
command()
"""


def test_a_thread_that_was_forgotten_can_be_ended(here: Any) -> None:
    """It is waited for when the run is over, and a signal counts again."""
    here.file("s.py", "")
    here.file("plug_in.py", PLUG_IN)
    process = here.start_argv([sys.executable, "plug_in.py"])
    here.wait_for_run()
    wait_for_text(here.directory / "procession-runs" / "latest" / "report.json", '"ended"')
    until = time.monotonic() + 30
    while process.poll() is None:
        assert time.monotonic() < until
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    assert here.end(process).code == -signal.SIGTERM


@contextmanager
def full_pipe() -> Iterator[tuple[int, int]]:
    """A pipe that takes no byte until it is read; the writing end is closed by who uses it."""
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        with suppress(BlockingIOError):
            while os.write(writing, b"x" * select.PIPE_BUF):
                pass
        os.set_blocking(writing, True)
        yield reading, writing
    finally:
        os.close(reading)


RESTARTS = ("--max-restarts", "999", "--stop-file-on", "")


def test_signals_between_attempts(here: Any) -> None:
    """One that is to be passed on finds nobody, and does not end the launcher by its default."""
    here.file("s.py", "raise SystemExit(1)")
    process = here.start(*RESTARTS, "-r", "3", "s.py", stderr=subprocess.PIPE)
    for attempt in range(2, 12):
        while f"attempt {attempt} of 1000: " not in (line := process.stderr.readline()):
            assert "SIGUSR1 was not passed on" in line  # the signal before found a worker after all
        process.send_signal(signal.SIGUSR1)  # about now one gang has gone and none is there yet
    process.send_signal(signal.SIGTERM)
    ended = here.end(process)
    assert ended.code == 143
    assert ended.report["origin"] == "signal"


# --- in a terminal ---


@contextmanager
def terminal(here: Any, *words: str) -> Iterator[tuple[int, int]]:
    """``procession run WORDS`` as the foreground job of a terminal: its pid and the master's fd."""
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(here.directory)
        os.execve(sys.executable, [sys.executable, "-m", "procession", "run", *words], here.environ)
    try:
        yield pid, master
    finally:
        os.close(master)


def read_until(master: int, needle: str, seconds: float = 30) -> str:
    """All that the terminal shows until this text, or until nobody holds it any more."""
    text, deadline = "", time.monotonic() + seconds
    while needle not in text and select.select([master], [], [], deadline - time.monotonic())[0]:
        try:
            text += os.read(master, 65536).decode()
        except OSError:  # EIO: the last holder of the other side is gone
            break
    return text


def status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_ctrl_c(here: Any) -> None:
    here.file("s.py", WAIT.format(""))
    with terminal(here, "-n", "2", "s.py") as (pid, master):
        shown = ""
        while shown.count("ready") < 2:
            shown += read_until(master, "ready")
        os.write(master, b"\x03")
        shown += read_until(master, "\0")
        assert status(pid) == 130
    assert here.left() == []
    assert "SIGINT ended the run" in shown
    assert "Traceback" not in shown
    assert re.search(r"\x1b\[2mprocession: logs in procession-runs/\S+\x1b\[0m", shown)


def test_a_terminal_that_goes_away(here: Any) -> None:
    here.file("s.py", WAIT.format(""))
    with terminal(here, "-n", "1", "s.py") as (pid, master):
        read_until(master, "ready")
    assert status(pid) == 129  # SIGHUP
    assert here.left() == []


def test_a_question_to_the_person_at_the_terminal(here: Any) -> None:
    here.file("s.py", "name = input('who? ')\nprint('hello', name)\n")
    with terminal(here, "-n", "1", "s.py") as (pid, master):
        assert "[default0]:\x1b[0mwho? " in read_until(master, "who? ")
        os.write(master, b"ann\n")
        # The answer's echo ended the line on the screen; in the worker's own output it goes on.
        assert "ann\r\nhello ann\r\n" in read_until(master, "hello ann\r\n")
        assert status(pid) == 0
