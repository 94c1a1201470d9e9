"""The kit is as good as it says: each bad child is bad in its way, each kind of leak is caught."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NoReturn

import pytest
from tests.real.pace import left_at_once

from procession._os import proc
from procession.errors import UsageError
from procession.multiprocessing import DefaultLogsSpecs, start_processes
from procession.testing import (
    Inventory,
    Ready,
    RollCall,
    bearers,
    children,
    deny,
    describe,
    stop,
    wait_for_text,
    wait_gone,
)

TERMINATING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
Begin = Callable[..., tuple["subprocess.Popen[bytes]", Ready]]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Start a bad child in a session of its own; all that is left of it is killed at the end."""
    with ExitStack() as stack:
        roll = stack.enter_context(RollCall())

        def start(
            child: Callable[..., NoReturn], *numbers: int, stdout: int | None = None
        ) -> tuple[subprocess.Popen[bytes], Ready]:
            argv = children.command(child, *numbers, tell=roll.path)
            process = stack.enter_context(
                subprocess.Popen(argv, stdout=stdout, start_new_session=True)
            )
            stack.callback(process.kill)
            (ready,) = roll.wait(1)
            for pid in ready.others:
                stack.callback(kill, pid)
            assert (ready.name, ready.pid) == (child.__name__, process.pid)
            return process, ready

        yield start


def kill(pid: int) -> None:
    if pid in proc.living([pid]):
        with suppress(ProcessLookupError):  # it has ended since
            os.kill(pid, signal.SIGKILL)


def fds(pid: int) -> set[str]:
    """What a process has open; a number may be closed while it is looked at."""
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return found


def stat(pid: int) -> proc.Stat:
    found = proc.stat(pid)
    assert found is not None
    return found


@pytest.mark.parametrize("signum", TERMINATING)
def test_one_that_obeys(begin: Begin, signum: signal.Signals) -> None:
    process, _ = begin(children.obeys)
    process.send_signal(signum)
    assert process.wait(20) == -signum


def test_one_that_ignores_term(begin: Begin) -> None:
    process, _ = begin(children.ignores_term)
    for signum in TERMINATING:
        process.send_signal(signum)
    assert wait_gone([process.pid], 0.2) == [process.pid]
    process.kill()
    assert process.wait(20) == -signal.SIGKILL


def test_one_that_leaves_by_setsid(begin: Begin) -> None:
    process, ready = begin(children.leaves_by_setsid)
    (child,) = ready.others
    assert (stat(child).session, stat(child).parent) == (child, process.pid)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(20) == -signal.SIGKILL
    assert wait_gone([child], 0.1) == [child]


def test_one_that_double_forks(begin: Begin) -> None:
    process, ready = begin(children.double_forks)
    (orphan,) = ready.others
    assert stat(orphan).session == process.pid
    assert orphan not in proc.descendants([process.pid])


def test_one_that_daemonizes(begin: Begin) -> None:
    process, ready = begin(children.daemonizes)
    (daemon,) = ready.others
    assert stat(daemon).session == daemon
    assert daemon not in proc.descendants([process.pid])
    assert Path(f"/proc/{daemon}/environ").read_bytes() == b""
    while fds(daemon) != {os.devnull}:  # its loader has files open for a moment
        assert daemon in proc.living([daemon])


def test_one_that_stops_itself(begin: Begin) -> None:
    process, _ = begin(children.stops_itself)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    process.terminate()
    assert wait_gone([process.pid], 0.1) == [process.pid]
    process.send_signal(signal.SIGCONT)
    assert process.wait(20) == -signal.SIGTERM


def test_one_that_forks_for_ever(begin: Begin) -> None:
    before = Inventory.take()
    reader, writer = os.pipe()
    process, _ = begin(children.forks_for_ever, stdout=writer)
    os.close(writer)
    process.kill()
    process.wait()
    seen: set[int] = set()
    while len(seen) < 5:  # one after another
        seen |= before.left().processes.keys()
    # A look at /proc may fall between two links; that the pipe has no writer any more is exact.
    while not select.select([reader], [], [], 0)[0]:
        for pid in before.left().processes:
            kill(pid)
    os.close(reader)


def test_one_that_holds_stdout(begin: Begin) -> None:
    reader, writer = os.pipe()
    process, ready = begin(children.holds_stdout, stdout=writer)
    os.close(writer)
    assert process.wait(20) == 0
    os.set_blocking(reader, False)
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
    kill(*ready.others)
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""
    os.close(reader)


@pytest.mark.parametrize(
    "signum", [*TERMINATING, signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGUSR1]
)
def test_one_that_dies_by(begin: Begin, signum: signal.Signals) -> None:
    process, _ = begin(children.dies_by, signum)
    assert process.wait(20) == -signum


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_they_are_functions_too(method: str, tmp_path: Path) -> None:
    with RollCall() as roll:
        context = start_processes(
            "w",
            children.daemonizes,
            {0: (roll.path,)},
            {0: {}},
            DefaultLogsSpecs(str(tmp_path)),
            start_method=method,
        )
        (ready,) = roll.wait(1)
        assert ready.pid == context.pids()[0]
        context.close(timeout=0)
        assert left_at_once([ready.pid, *ready.others]) == []


def test_a_run_is_found_by_its_id(tmp_path: Path) -> None:
    with RollCall() as roll:
        argv = children.command(children.double_forks, tell=roll.path)
        context = start_processes(
            "w", argv[0], {0: tuple(argv[1:])}, {0: {}}, DefaultLogsSpecs(str(tmp_path))
        )
        (ready,) = roll.wait(1)
        run_id = context.worker_env(0)["PROCESSION_RUN_ID"]
        assert {ready.pid, *ready.others} <= set(bearers(run_id))
        context.close(timeout=0)
        assert bearers(run_id) == []


# --- waiting ---


def test_a_roll_call_in_vain() -> None:
    with RollCall() as roll:
        Path(roll.path).write_text("ready obeys 1\n")
        with pytest.raises(TimeoutError, match="2 lines expected"):
            roll.wait(2, timeout=0.05)
        assert roll.wait(1) == [Ready("obeys", 1, ())]


def test_a_text_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "log"  # which comes later
    with RollCall() as roll:
        script = 'read line < "$1"; sleep 0.1; echo "found $line" >> "$2"'
        with subprocess.Popen(["sh", "-c", script, "sh", roll.path, str(path)]):
            Path(roll.path).write_text("it\n")
            assert wait_for_text(path, "found it") == "found it\n"
    with pytest.raises(TimeoutError, match="holds no 'more' after 0"):
        wait_for_text(path, "more", 0.01)


MANY_THREADS = """
import os, sys, threading
def count():
    number = 0
    while True:
        os.pwrite(fd, b"%012d" % (number := number + 1), at)
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
for at in range(0, 8 * 12, 12):
    threading.Thread(target=count, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_stopped_process_has_stopped(tmp_path: Path) -> None:
    """Not one of its threads does anything after the call, however many were running."""
    counts = tmp_path / "counts"
    argv = [sys.executable, "-c", MANY_THREADS, str(counts)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        for _ in range(50):
            stop(process.pid)
            states = [stat(int(tid)).state for tid in os.listdir(f"/proc/{process.pid}/task")]
            assert states == ["T"] * len(states)
            before = counts.read_bytes()
            assert counts.read_bytes() == before
            process.send_signal(signal.SIGCONT)
        process.kill()


def test_one_that_has_ended_has_stopped_and_one_that_never_was_is_said() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    stop(process.pid)
    process.wait()
    with pytest.raises(ProcessLookupError):
        stop(process.pid)


VFORKS = """
import os, sys
into_fifo = (os.POSIX_SPAWN_OPEN, 1, sys.argv[1], os.O_WRONLY, 0)
print("ready", flush=True)
os.posix_spawn("/bin/true", ["true"], {}, file_actions=[into_fifo])
"""


def test_one_that_does_not_stop_is_said(tmp_path: Path) -> None:
    """Who waits in vfork(2) for a child that has not come to its exec is not stopped meanwhile."""
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    argv = [sys.executable, "-c", VFORKS, fifo]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            while stat(process.pid).state != "D":
                assert process.poll() is None
            (child,) = proc.children(process.pid)
            with pytest.raises(
                TimeoutError, match=f"{process.pid} D (.|\n)*not stopped after 0.1 s"
            ):
                stop(process.pid, timeout=0.1)
        finally:
            process.kill()
    end = os.open(fifo, os.O_RDWR)  # for which the child has waited
    assert wait_gone([child]) == []
    os.close(end)


def test_a_process_in_words() -> None:
    assert describe(os.getpid()).startswith(f"{os.getpid()} R ")
    assert describe(2**22 + 1) == f"{2**22 + 1} (gone)"


# --- denial ---

CHECK = """
import errno, os
from procession._os.inotify import Inotify
def outcome(call):
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "works"
print(outcome(lambda: os.pidfd_open(os.getpid())), outcome(Inotify))
"""


@pytest.mark.full_platform
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pidfd_open"], "ENOSYS works"),
        (["inotify_init1"], "works ENOSYS"),
        (["memfd_create"], "works works"),
        (["pidfd_open", "inotify_init1"], "ENOSYS ENOSYS"),
        (["--errno", "EPERM", "inotify_init1", "pidfd_open", "unshare"], "EPERM EPERM"),
    ],
)
def test_denied_calls_fail_and_others_do_not(words: list[str], expected: str) -> None:
    argv = [sys.executable, "-m", "procession.testing.deny", *words, "--", sys.executable]
    ended = subprocess.run([*argv, "-c", CHECK], capture_output=True, text=True, check=True)
    assert (ended.stdout.split(), ended.stderr) == (expected.split(), "")


def test_a_call_that_nobody_knows() -> None:
    with pytest.raises(UsageError, match=r"cannot deny pidfd_opne: there are .*pidfd_open"):
        deny("pidfd_opne")


@pytest.mark.parametrize("words", [[], ["pidfd_open"], ["--", "true"], ["opne", "--", "true"]])
def test_a_denial_that_cannot_be(words: list[str]) -> None:
    argv = [sys.executable, "-m", "procession.testing.deny", *words]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert ended.stderr


def test_a_child_that_nobody_listens_to_does_not_wait_for_ever(tmp_path: Path) -> None:
    """An open of a FIFO waits for a reader, and a mask is inherited."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    shorter = (
        "import signal; from procession.testing import children; children.LIFETIME = 1; "
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM]); "
        f"children.main('ignores_term', {str(fifo)!r})"
    )
    ended = subprocess.run([sys.executable, "-c", shorter], timeout=30, check=False)
    assert ended.returncode == -signal.SIGALRM
