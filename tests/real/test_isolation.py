"""A gang in a PID namespace of its own: gone with its guardian, and told of in the host's numbers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.real.families import ENTRIES, PATIENCE, Run, idle
from tests.real.pace import left_at_once

import procession
from procession._os.members import members
from procession._os.namespaces import unshare_pids
from procession.errors import UsageError
from procession.multiprocessing import DefaultLogsSpecs, Std, Supervision, start_processes
from procession.testing import stop

SOURCE = str(Path(procession.__file__).parents[1])
NOBODY = 65534


def isolates() -> bool:
    """Whether this host lets us have the namespaces at all."""
    test = ["unshare", *(() if os.geteuid() == 0 else ("--user",)), "--pid", "--fork", "true"]
    return subprocess.run(test, capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not isolates(), reason="no PID namespaces are to be had here")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Run]]:
    with ExitStack() as stack:

        def begin(entry: str) -> Run:
            run = stack.enter_context(idle(entry, tmp_path, "pidns"))
            assert max(map(max, run.families)) < 50  # the namespace's own numbers
            return run

        yield begin


@pytest.mark.parametrize("entry", ENTRIES)
def test_launcher_and_guardian_killed_together(entry: str, start: Callable[[str], Run]) -> None:
    run = start(entry)
    deadline = time.monotonic() + PATIENCE
    while (
        len(everybody := members(run.id).pids) < 7
    ):  # who is in its exec has no environment for a moment
        assert time.monotonic() < deadline, everybody
    assert {run.guardian, *run.workers} <= set(everybody)
    for pid in (run.launcher.pid, run.guardian):  # neither sees the other's end, nor continues it
        stop(pid)
    os.kill(run.guardian, signal.SIGKILL)
    run.launcher.kill()
    assert left_at_once(everybody) == []


def test_a_stopped_guardian_sees_its_launchers_end(start: Callable[[str], Run]) -> None:
    run = start("binary")
    everybody = members(run.id).pids
    stop(run.guardian)
    run.launcher.kill()
    assert left_at_once(everybody) == []


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("victim", ["launcher", "guardian", "worker"])
def test_one_killed_ends_all_as_ever(entry: str, victim: str, start: Callable[[str], Run]) -> None:
    run = start(entry)
    everybody = members(run.id).pids
    pid = {"launcher": run.launcher.pid, "guardian": run.guardian, "worker": run.workers[1]}[victim]
    os.kill(pid, signal.SIGKILL)
    says = {"launcher": "", "guardian": "guardian lost\n", "worker": "result {1: -9}\n"}[victim]
    output, _ = run.launcher.communicate("" if victim == "launcher" else "\n", timeout=PATIENCE)
    assert output == says
    assert left_at_once(everybody) == []


def test_one_that_is_stopped_on_its_way_into_a_namespace_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_first() -> None:
        os.kill(os.getpid(), signal.SIGSTOP)
        unshare_pids()

    monkeypatch.setattr("procession._guardian.isolation.unshare_pids", stop_first)
    result = start_processes(
        "w",
        os.getppid,
        {0: ()},
        {0: {}},
        DefaultLogsSpecs(str(tmp_path), redirects=Std.ALL),
        start_method="fork",
        supervision=Supervision(isolate="pidns"),
    ).wait()
    assert result is not None
    assert result.return_values == {0: 1}


def run_command(*words: str, program: list[str], text: str, tmp_path: Path) -> tuple[int, str, str]:
    (tmp_path / "s.py").write_text(text)
    ended = subprocess.run(
        [*program, "-m", "procession", "run", *words, str(tmp_path / "s.py")],
        env={**os.environ, "PYTHONPATH": SOURCE, "PROCESSION_LOG_DIR": "/dev/null"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


LOOK = """
import os, signal
os.kill(1, signal.SIGKILL)  # of whoever is in a namespace its first process takes no such thing
print(os.getpid() < 10, os.getppid(), os.getuid(), sum(p.isdigit() for p in os.listdir('/proc')) < 10)
raise SystemExit(7)
"""


def test_what_a_worker_sees(tmp_path: Path) -> None:
    code, out, err = run_command(
        *("--isolate", "pidns", "--max-restarts", "1"),
        program=[sys.executable],
        text=LOOK,
        tmp_path=tmp_path,
    )
    assert (code, out) == (7, f"True 1 {os.getuid()} True\n" * 2)
    assert "attempt 2 of 2: " in err


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory that other users reach too, which tmp_path is not."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        yield Path(path)


def test_an_ordinary_user(open_to_all: Path) -> None:
    """In a user namespace, where the uid stays what it is."""
    if os.geteuid() != 0:
        program = [sys.executable]
    else:
        found = shutil.which("python3", path="/usr/bin:/bin")
        assert found is not None, "a Python that others than root may execute"
        user = str(NOBODY)
        program = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", found]
    code, out, err = run_command(
        "--isolate=pidns", program=program, text=LOOK, tmp_path=open_to_all
    )
    uid = NOBODY if os.geteuid() == 0 else os.getuid()
    assert (code, out) == (7, f"True 1 {uid} True\n"), err


def test_a_host_that_gives_out_none_is_refused(tmp_path: Path) -> None:
    """And nothing is started; the limit is that of a user namespace of this test's own."""
    limit = 'echo 0 > /proc/sys/user/max_pid_namespaces && exec "$@"'
    program = ["unshare", "--user", "--map-root-user", "sh", "-c", limit, "sh", sys.executable]
    code, out, err = run_command("--isolate", "pidns", program=program, text="", tmp_path=tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith("procession: isolate pidns: unshare: No space left on device. It takes ")
    assert "sysctl user.max_user_namespaces" in err


def test_the_variable_and_a_wrong_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PET_ISOLATE", "pidns")
    code, out, _ = run_command(program=[sys.executable], text=LOOK, tmp_path=tmp_path)
    assert (code, out) == (7, f"True 1 {os.getuid()} True\n")
    code, _, err = run_command(
        "--isolate", "x", program=[sys.executable], text="", tmp_path=tmp_path
    )
    assert code == 2
    assert "argument --isolate: invalid choice: 'x' (choose from " in err
    with pytest.raises(UsageError, match="isolate='x': give 'pidns' for a PID namespace"):
        Supervision(isolate="x")


def test_without_pidfds(tmp_path: Path) -> None:
    """The guardian then looks its workers' numbers up in the outer /proc."""
    program = [sys.executable, "-m", "procession.testing.deny", "pidfd_open", "--"]
    code, out, err = run_command(
        *("--isolate=pidns", "-n", "2"),
        program=[*program, sys.executable],
        text=LOOK,
        tmp_path=tmp_path,
    )
    assert code == 7, err
    assert set(out.splitlines()) == {f"True 1 {os.getuid()} True"}
