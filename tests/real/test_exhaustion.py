"""Fds or processes run out while rank k of n is started: an error that says so, and nothing is left."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.real.pace import left_at_once, left_of_run

import procession
from procession.multiprocessing import DefaultLogsSpecs, Std, Supervision, start_processes
from procession.testing import wait_gone

SOURCE = str(Path(procession.__file__).parents[1])
PIDS = Path("/sys/fs/cgroup/pids")
PATIENCE = 30.0
# An interpreter without memory may never come to an end: unwinding an exception takes an int, for which
# CPython 3.11 tries for ever (Python/ceval.c, exception_unwind).
BOUNDED = ["timeout", "--signal=KILL", "10"]
USER = (
    50000 + os.getpid() % 5000
)  # of whom nothing else runs: RLIMIT_NPROC counts all that a user has
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root to be another user, or a cgroup")


def open_fds() -> list[int]:
    return sorted(map(int, os.listdir("/proc/self/fd")))


@pytest.fixture
def limit() -> Iterator[None]:
    """Numbers that are free below the highest in use are taken: the limit is one of numbers."""
    before, top = resource.getrlimit(resource.RLIMIT_NOFILE), max(open_fds())
    with ExitStack() as taken:
        while (fd := os.open(os.devnull, os.O_RDONLY)) < top:
            taken.callback(os.close, fd)
        os.close(fd)
        yield
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize("method", ["binary", "spawn", "fork", "forkserver"])
def test_fds_run_out_in_the_launcher_at_every_step(method: str, tmp_path: Path) -> None:
    """With room for one fd more each time, until the gang starts; the log files are the most of them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ranks = range(4)
    refused = 0
    for room in range(60):
        before = open_fds()
        run_id = f"fds-{os.getpid()}-{method}-{room}"
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(before) + 1 + room, hard))
        try:
            context = start_processes(
                name="e",
                entrypoint="true" if method == "binary" else os.getpid,
                args=dict.fromkeys(ranks, ()),
                envs={rank: {} for rank in ranks},
                logs_specs=DefaultLogsSpecs(str(tmp_path / str(room)), redirects=Std.ALL),
                start_method="spawn" if method == "binary" else method,
                supervision=Supervision(shutdown_timeout=0, run_id=run_id),
            )
            result = context.wait()
        except OSError as error:
            assert error.errno == 24, error  # noqa: PT017
            refused += 1
        else:
            assert result is not None
            if not result.is_failed():
                break
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        assert left_of_run(run_id) == []
        assert open_fds() == before
    else:
        pytest.fail("it has never started")
    assert refused


def run_command(prefix: list[str], tmp_path: Path, mark: str) -> subprocess.CompletedProcess[str]:
    python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
    return subprocess.run(
        [*prefix, python, "-m", "procession", "run", "-n", "4", "--no-python", "sleep", "0.2"],
        env={"PYTHONPATH": SOURCE, "PATH": os.environ["PATH"], "MARK": mark},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def marked(mark: str) -> list[int]:
    needle = f"MARK={mark}".encode()
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if needle in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                found.append(int(name))
        except OSError:
            continue
    return found


def check(ended: subprocess.CompletedProcess[str], mark: str) -> bool:
    """Whether it ran; if it did not, it must have said why, and left nothing."""
    assert left_at_once(marked(mark)) == []
    if ended.returncode == 0:
        return True
    assert ended.returncode == 71, ended.stderr
    assert "too many processes; see ulimit -u and the pids limit of the cgroup" in ended.stderr
    assert "Traceback" not in ended.stderr
    return False


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory that other users reach too, which tmp_path is not."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o777)
        yield Path(path)


@as_root
def test_processes_run_out_by_rlimit_nproc(open_to_all: Path) -> None:
    """The limit of an ordinary user, raised by one until the gang runs."""
    script = 'ulimit -u $0; exec "$@"'
    user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    ran = []
    for number in range(1, 20):
        mark = f"{os.getpid()}-nproc-{number}"
        ended = run_command([*user, "bash", "-c", script, str(number)], open_to_all, mark)
        ran.append(check(ended, mark))
        if ran[-1]:
            break
    assert ran[-1]
    assert len(ran) > 5


@pytest.fixture
def pids_cgroup() -> Iterator[Path]:
    made = PIDS / f"procession-test-{os.getpid()}"
    try:
        made.mkdir()
        (made / "pids.max").write_text("max")
    except OSError:
        pytest.skip("no writable pids cgroup of version 1 here")
    yield made
    remove(made)


def remove(cgroup: Path) -> None:
    """Remove a cgroup once nobody is in it: who was killed may take a moment to go."""
    deadline = time.monotonic() + PATIENCE
    while (left := (cgroup / "cgroup.procs").read_text().split()) and time.monotonic() < deadline:
        wait_gone(map(int, left), deadline - time.monotonic())
    cgroup.rmdir()


@as_root
def test_processes_run_out_by_a_pids_cgroup(tmp_path: Path, pids_cgroup: Path) -> None:
    script = f'echo $$ > {pids_cgroup}/cgroup.procs; exec "$@"'
    ran = []
    for number in range(1, 20):
        (pids_cgroup / "pids.max").write_text(str(number))
        mark = f"{os.getpid()}-pids-{number}"
        ran.append(check(run_command(["sh", "-c", script, "sh"], tmp_path, mark), mark))
        if ran[-1]:
            break
    assert ran[-1]
    assert len(ran) > 5
    assert (pids_cgroup / "cgroup.procs").read_text() == ""


def test_memory_runs_out_at_some_step(tmp_path: Path) -> None:
    """With so little that Python cannot import us the words are Python's; what is left is nothing."""
    script = 'ulimit -v $0; exec "$@"'
    codes = []
    for kilobytes in range(15_000, 200_000, 5_000):
        mark = f"{os.getpid()}-memory-{kilobytes}"
        words = ["bash", "-c", script, str(kilobytes), *BOUNDED]
        ended = run_command(words, tmp_path, mark)
        assert left_at_once(marked(mark)) == []
        assert "an error of procession's own" not in ended.stderr
        codes.append(ended.returncode)
        if not ended.returncode:
            break
    assert codes[-1] == 0
    assert 71 in codes


@pytest.mark.timeout(200)
@pytest.mark.parametrize("method", ["binary", "spawn", "fork", "forkserver"])
def test_memory_runs_out_in_the_guardian(method: str, tmp_path: Path) -> None:
    """At some step of a start; it is an error of the guardian's loss or of a worker, and nothing is left."""
    script = Path(__file__).parent / "scripts" / "out_of_memory.py"
    mark = f"{os.getpid()}-guardian-{method}"
    ended = subprocess.run(
        [sys.executable, str(script), method, str(tmp_path)],
        env={**os.environ, "MARK": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # the interpreter's own last words, in many wordings
        text=True,
        timeout=150,  # each start may take ten seconds, of which it takes one
        check=False,
    )
    assert left_at_once(marked(mark)) == []
    *said, last = [line.partition(":")[2] for line in ended.stdout.splitlines()]
    assert last == "done"
    assert said or method == "fork"  # which may live by what it has
    assert set(said) <= {"GuardianLostError", "PreloadError", "failed", "ended by us", "OSError"}


@pytest.fixture
def memory_cgroup() -> Iterator[Path]:
    made = Path(f"/sys/fs/cgroup/memory/procession-test-{os.getpid()}")
    try:
        made.mkdir()
        (made / "memory.limit_in_bytes").write_text("-1")
    except OSError:
        pytest.skip("no writable memory cgroup of version 1 here")
    yield made
    remove(made)


@as_root
def test_memory_runs_out_by_a_cgroup(tmp_path: Path, memory_cgroup: Path) -> None:
    """The kernel kills somebody of the run, whom it likes: launcher, guardian or worker."""
    script = f'echo $$ > {memory_cgroup}/cgroup.procs; exec "$@"'
    codes = []
    for megabytes in range(6, 120, 6):
        (memory_cgroup / "memory.limit_in_bytes").write_text(str(megabytes << 20))
        mark = f"{os.getpid()}-cgroup-{megabytes}"
        ended = run_command(["sh", "-c", script, "sh"], tmp_path, mark)
        left = marked(mark)
        assert left_at_once(left) == [], ended.stderr
        assert "an error of procession's own" not in ended.stderr
        codes.append(ended.returncode)
        if not ended.returncode:
            break
    assert codes[-1] == 0
    assert len(codes) > 1
