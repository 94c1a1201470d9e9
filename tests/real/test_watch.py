"""Launcher and guardian watch each other: killed or stopped, waited for or not, at any step of a start."""

from __future__ import annotations

import os
import pty
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.real.families import ENTRIES, PATIENCE, SCRIPTS, Run, idle
from tests.real.pace import left_at_once, left_of_run

from procession._guardian import client, warden
from procession._guardian.client import spawn_guardian
from procession._guardian.kept import KeptGuardian
from procession._guardian.sentry import is_stopped
from procession._os import proc
from procession._os.proc import Stat, ancestry, everybody, stat
from procession.errors import GuardianLostError
from procession.multiprocessing import DefaultLogsSpecs, PContext, Std, Supervision, start_processes
from procession.testing import RollCall, bearers, stop, wait_gone

EXIT = {"x86_64": 60, "aarch64": 93, "riscv64": 93}  # exit(2), which ends a thread alone


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Run]]:
    with ExitStack() as stack:
        yield lambda entry: stack.enter_context(idle(entry, tmp_path))


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_guardian_killed_while_nobody_waits(entry: str, start: Callable[[str], Run]) -> None:
    run = start(entry)
    os.kill(run.guardian, signal.SIGKILL)
    assert left_at_once(run.pids) == []
    assert left_of_run(run.id) == []
    assert run.outcome() == "guardian lost\n"


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_stopped_guardian_hears_of_a_death_all_the_same(
    entry: str, start: Callable[[str], Run]
) -> None:
    """Nobody expects a word of it in the steady state, so only its stop can tell that none will come."""
    run = start(entry)
    run.let_wait()
    stop(run.guardian)
    os.kill(run.workers[0], signal.SIGKILL)
    assert run.outcome() == "result {0: -9}\n"
    assert wait_gone(run.pids) == []


@pytest.mark.parametrize("entry", ["binary", "fork"])
def test_a_stopped_guardian_sees_its_launchers_end(entry: str, start: Callable[[str], Run]) -> None:
    """Nobody is left who would continue it: the kernel does."""
    run = start(entry)
    stop(run.guardian)
    run.launcher.kill()
    assert left_at_once(run.pids) == []


def test_a_guardian_that_stays_stopped_is_killed(start: Callable[[str], Run]) -> None:
    run = start("binary")
    done = threading.Event()

    def stop_again_and_again() -> None:
        while not done.wait(0.01):
            try:
                os.kill(run.guardian, signal.SIGSTOP)
            except ProcessLookupError:
                return

    thread = threading.Thread(target=stop_again_and_again)
    thread.start()
    try:
        assert wait_gone(run.pids) == []
        assert run.outcome() == "guardian lost\n"
    finally:
        done.set()
        thread.join()


def test_a_guardian_that_comes_to_no_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer of it is due while the gang runs, and nobody looks at it: the kernel ends it."""

    def work_for_ever(*_: object) -> None:
        while True:
            pass

    monkeypatch.setattr(warden, "_MOST_WORK", 1.0)
    monkeypatch.setitem(warden.Warden._handlers, "work", work_for_ever)
    with start_processes(
        "w",
        signal.pause,
        dict.fromkeys(range(2), ()),
        {0: {}, 1: {}},
        DefaultLogsSpecs(str(tmp_path), redirects=Std.ALL),
        start_method="fork",
    ) as context:
        workers = list(context.pids().values())
        assert context.wait(0.5) is None  # however long it sleeps
        context._gang._guardian.ask("work")  # type: ignore[union-attr]
        with pytest.raises(GuardianLostError):
            context.wait()
    assert wait_gone(workers) == []


def test_a_guardian_that_is_forked_has_no_handler_of_its_callers(tmp_path: Path) -> None:
    """It would run the caller's code; SIGCONT comes to it when the caller's thread ends."""
    old = signal.signal(signal.SIGCONT, lambda *_: 1 / 0)
    try:
        with start_processes(
            "w",
            signal.pause,
            {0: ()},
            {0: {}},
            DefaultLogsSpecs(str(tmp_path), redirects=Std.ALL),
            start_method="fork",
        ) as context:
            (pid,) = context.pids().values()
            os.kill(stat_of(pid).parent, signal.SIGCONT)
            os.kill(pid, signal.SIGKILL)
            result = context.wait()
    finally:
        signal.signal(signal.SIGCONT, old)
    assert result is not None
    assert result.failures[0].exitcode == -signal.SIGKILL


def cpu_cgroup(name: str) -> Path:
    """Return a cgroup of version 1 that has a thousandth of a processor."""
    made = Path("/sys/fs/cgroup/cpu") / name
    try:
        made.mkdir()
        (made / "cpu.cfs_period_us").write_text("1000000")
        (made / "cpu.cfs_quota_us").write_text("1000")
    except OSError:
        pytest.skip("no writable cpu cgroup of version 1 here")
    return made


@pytest.mark.stress
def test_a_guardian_that_is_starved_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousandth of a processor makes ten seconds of a hundredth."""
    cgroup = cpu_cgroup(f"procession-test-{os.getpid()}")
    made = client.Guardian.__init__

    def starve(self: client.Guardian, pid: int, *rest: Any) -> None:
        (cgroup / "cgroup.procs").write_text(str(pid))
        made(self, pid, *rest)

    monkeypatch.setattr(client.Guardian, "__init__", starve)
    try:
        context = start_processes(
            "w",
            "true",
            dict.fromkeys(range(8), ()),
            {rank: {} for rank in range(8)},
            DefaultLogsSpecs(str(tmp_path), redirects=Std.ALL),
        )
        result = context.wait()
        assert result is not None
        assert not result.is_failed()
    finally:
        cgroup.rmdir()


@pytest.fixture
def frozen() -> Iterator[Path]:
    """A cgroup of version 1: who is frozen in it does not die, like one whose disk is gone (state D)."""
    made = Path(f"/sys/fs/cgroup/freezer/procession-test-{os.getpid()}")
    try:
        made.mkdir()
        (made / "freezer.state").write_text("FROZEN")
    except OSError:
        pytest.skip("no writable freezer cgroup of version 1 here")
    yield made
    (made / "freezer.state").write_text("THAWED")
    pids = [int(pid) for pid in (made / "cgroup.procs").read_text().split()]
    assert wait_gone(pids) == []
    made.rmdir()


def freeze(pid: int, cgroup: Path) -> None:
    """Freeze a process, once it has come to where that can be (freezer-subsystem.rst: FREEZING)."""
    (cgroup / "cgroup.procs").write_text(str(pid))
    deadline = time.monotonic() + PATIENCE
    while (cgroup / "freezer.state").read_text() != "FROZEN\n":
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def test_a_worker_that_could_not_die_is_none_of_the_next_gangs(
    frozen: Path, tmp_path: Path
) -> None:
    """The guardian of both sees its death in the end; and the next gang's end does not wait for it."""
    kept = KeptGuardian(f"stuck-{os.getpid()}", spawn_guardian)

    def start(*words: str) -> PContext:
        specs = DefaultLogsSpecs(str(tmp_path), redirects=Std.ALL)
        wishes = Supervision(guardian=kept, shutdown_timeout=600)
        return start_processes("w", "sh", {0: ("-c", *words)}, {0: {}}, specs, supervision=wishes)

    stuck = start("exec sleep 1000")
    (pid,) = stuck.pids().values()
    freeze(pid, frozen)
    stuck.close(signal.SIGKILL, 0)
    assert proc.living([pid])
    ended = start("exit 0").wait()
    assert ended is not None
    assert not ended.is_failed()
    with start("exec sleep 1000") as following:
        (frozen / "freezer.state").write_text("THAWED")
        assert wait_gone([pid]) == []
        assert following.wait(0.5) is None
        following.close(signal.SIGKILL, 0)
    kept.close()


def test_what_is_told_too_late_that_all_is_over_has_time_to_end(
    frozen: Path, tmp_path: Path
) -> None:
    """A filter behind the worker, on a host that is busy: it writes its last lines when its turn comes."""
    roll = RollCall()
    filters = f"exec > >(echo $BASHPID > {roll.path}; exec cat > {tmp_path / 'out'}); read < {tmp_path / 'go'}; echo last"
    os.mkfifo(tmp_path / "go")
    with (
        roll,
        start_processes(
            "w",
            "bash",
            {0: ("-c", filters)},
            {0: {}},
            DefaultLogsSpecs(str(tmp_path / "logs"), redirects=Std.ALL),
        ) as context,
    ):
        (pid,) = map(int, roll.lines(1))
        freeze(pid, frozen)
        (tmp_path / "go").write_text("!\n")
        assert wait_gone(context.pids().values()) == []
        threading.Timer(1, (frozen / "freezer.state").write_text, ("THAWED",)).start()
        result = context.wait()
        assert result is not None
        assert (result.is_failed(), result.ledger.swept) == (False, ())
    assert (tmp_path / "out").read_text() == "last\n"


LEADERLESS = """
import ctypes, os, sys, threading, time
def live():
    while open("/proc/self/stat").read().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    print(os.getpid(), file=open(sys.argv[1], "w"), flush=True)
    time.sleep(600)
threading.Thread(target=live).start()
ctypes.CDLL(None).syscall(int(sys.argv[2]), 0)
"""


@pytest.mark.skipif(os.uname().machine not in EXIT, reason="exit(2) has another number here")
def test_who_has_lost_its_first_thread_lives(tmp_path: Path) -> None:
    """/proc calls it a zombie; it is left by a worker that ends well, and ended as any other."""
    script = tmp_path / "leaderless.py"
    script.write_text(LEADERLESS)
    os.mkfifo(tmp_path / "go")
    number = EXIT[os.uname().machine]
    with RollCall() as roll:
        line = f"{sys.executable} {script} {roll.path} {number} & read < {tmp_path / 'go'}"
        specs = DefaultLogsSpecs(str(tmp_path / "logs"), redirects=Std.ALL)
        with start_processes("w", "bash", {0: ("-c", line)}, {0: {}}, specs) as context:
            (pid,) = map(int, roll.lines(1))
            (tmp_path / "go").write_text("!\n")
            result = context.wait()
            assert result is not None
            assert [remnant.pid for remnant in result.ledger.swept] == [pid]
            assert wait_gone([pid]) == []


def test_a_stopped_launcher_is_left_alone_and_goes_on(start: Callable[[str], Run]) -> None:
    """Ctrl-Z and debuggers stop a launcher; what it runs goes on, and so does it when it is continued."""
    run = start("binary")
    run.let_wait()
    stop(run.launcher.pid)
    assert wait_gone(run.pids, 2.5) == run.pids  # longer than a guardian may be silent
    assert is_stopped(run.launcher.pid)
    os.kill(run.launcher.pid, signal.SIGCONT)
    os.kill(run.workers[1], signal.SIGKILL)
    assert run.outcome() == "result {1: -9}\n"
    assert wait_gone(run.pids) == []


def test_another_gang_of_the_same_name_outlives_a_lost_guardian(tmp_path: Path) -> None:
    """The name is the caller's to give; whose a process is, is told by who looks after it."""
    run_id = f"namesakes-{os.getpid()}"

    def start(number: int) -> PContext:
        return start_processes(
            f"g{number}",
            "sh",
            dict.fromkeys(range(2), ("-c", "setsid sleep 1000 & exec sleep 1000")),
            {0: {}, 1: {}},
            DefaultLogsSpecs(str(tmp_path / str(number)), redirects=Std.ALL),
            supervision=Supervision(shutdown_timeout=0, run_id=run_id),
        )

    with start(0) as lost, start(1) as other:
        workers = list(lost.pids().values())
        os.kill(stat_of(workers[0]).parent, signal.SIGKILL)
        with pytest.raises(GuardianLostError):
            lost.wait()
        assert wait_gone(workers) == []
        guardian = stat_of(other.pids()[0]).parent
        left = {pid for pid in bearers(run_id) if pid != os.getpid()}
        assert left >= {guardian, *other.pids().values()}
        assert all(guardian in ancestry(pid, everybody()) for pid in left)
        assert other.wait(0) is None
    assert bearers(run_id) == []


def stat_of(pid: int) -> Stat:
    found = stat(pid)
    assert found is not None
    return found


@pytest.mark.timeout(240)
@pytest.mark.parametrize("method", ["binary", "fork", "forkserver"])
def test_a_guardian_killed_at_any_step_of_a_start(method: str, tmp_path: Path) -> None:
    """Between fork and exec too: a worker that the launcher has never heard of is found and ended."""
    chance = random.Random(method)
    for number in range(12):
        launcher = subprocess.Popen(
            [
                *(sys.executable, str(SCRIPTS / "start_many.py"), method),
                str(tmp_path / f"logs{number}"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert launcher.stdout is not None
        _, guardian, run_id = launcher.stdout.readline().split()
        threading.Event().wait(chance.uniform(0, 0.1))
        os.kill(int(guardian), signal.SIGKILL)
        output, _ = launcher.communicate(timeout=PATIENCE)
        assert left_of_run(run_id) == []
        assert output == "guardian lost\n"


@pytest.mark.parametrize("nohup", [False, True])
def test_a_terminal_that_goes_away(nohup: bool, tmp_path: Path) -> None:
    """SIGHUP ends the run, unless it was ignored when the run began."""
    child = tmp_path / "s.py"
    child.write_text("import os, signal\nprint('pid', os.getpid(), flush=True)\nsignal.pause()\n")
    words = [sys.executable, "-m", "procession", "run", "--log-dir", str(tmp_path / "runs")]
    pid, terminal = pty.fork()
    if pid == 0:
        if nohup:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.execv(sys.executable, [*words, "-n", "2", str(child)])
    shown = b""
    while shown.count(b"pid ") < 2 or not shown.endswith(b"\n"):
        shown += os.read(terminal, 4096)
    workers = [int(line.split()[-1]) for line in shown.splitlines() if b"pid " in line]
    os.close(terminal)
    if nohup:
        assert wait_gone([pid, *workers], 0.5) == [pid, *workers]
        os.kill(pid, signal.SIGTERM)
    assert wait_gone(workers) == []
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + (15 if nohup else 1)


def test_a_daemon_that_leads_its_session_is_found_by_the_lock(tmp_path: Path) -> None:
    """It has neither parent nor environment nor session of the gang, in a process with other children."""
    told = tmp_path / "pid"
    os.mkfifo(told)
    daemon = f"setsid -f env -i sh -c 'echo $$ > {told}; exec sleep 600'; exec sleep 600"
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as mine:
        context = start_processes(
            name="d",
            entrypoint="bash",
            args={0: ("-c", daemon)},
            envs={0: {}},
            logs_specs=DefaultLogsSpecs(str(tmp_path / "logs"), redirects=Std.ALL),
            start_method="spawn",
            supervision=Supervision(shutdown_timeout=0),
        )
        pid = int(told.read_text())
        also_mine = subprocess.Popen(["sleep", "600"], start_new_session=True)
        guardian = context._gang._guardian.pid  # type: ignore[union-attr]
        os.kill(guardian, signal.SIGKILL)
        with pytest.raises(GuardianLostError):
            context.wait()
        assert left_at_once([pid]) == []
        assert (mine.poll(), also_mine.poll()) == (None, None)  # the caller's own are not touched
        for child in (mine, also_mine):
            child.kill()
            child.wait()
