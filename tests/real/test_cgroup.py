"""A gang in a cgroup of its own: put there, killed at one stroke, and the cgroup removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import procession
from procession._guardian.unguarded import remove_deserted_cgroups
from procession._os.cgroup import Leaf, leaf_around, leaves, make_leaf, run_of_leaf
from procession._os.members import members
from procession.errors import UsageError
from procession.multiprocessing import DefaultLogsSpecs, Std, Supervision, start_processes
from procession.testing import stop, wait_gone

SCRIPTS = Path(__file__).parent / "scripts"
SOURCE = str(Path(procession.__file__).parents[1])


def can() -> bool:
    try:
        make_leaf("test").remove()
    except OSError:
        return False
    return True


needs_cgroup2 = pytest.mark.skipif(not can(), reason="no writable cgroup of version 2 here")


def show_cgroup() -> str:
    """The path of this process's cgroup of version 2."""
    return Path("/proc/self/cgroup").read_text().splitlines()[-1].removeprefix("0::")


@needs_cgroup2
@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_workers_are_in_it_and_it_goes_with_them(tmp_path: Path, method: str) -> None:
    run_id = f"test-{os.getpid()}-{method}"
    context = start_processes(
        name="c",
        entrypoint=signal.pause,
        args={0: (), 1: ()},
        envs={0: {}, 1: {}},
        logs_specs=DefaultLogsSpecs(str(tmp_path), redirects=Std.ALL),
        start_method=method,
        supervision=Supervision(run_id=run_id, isolate="cgroup", shutdown_timeout=0),
    )
    (around,) = {leaf_around(pid) for pid in context.pids().values()}
    assert around is not None
    assert around in leaves()
    assert set(context.pids().values()) <= set(
        map(int, Path(around, "cgroup.procs").read_text().split())
    )
    context.close(signal.SIGTERM, 0)
    assert not Path(around).exists()


@needs_cgroup2
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_worker_that_is_forked_is_there_before_it_does_anything(
    tmp_path: Path, method: str
) -> None:
    """The first move of a gang takes the kernel 13 ms, in which a function can have forked."""
    run_id = f"test-{os.getpid()}-{method}"
    result = start_processes(
        name="c",
        entrypoint=show_cgroup,
        args=dict.fromkeys(range(4), ()),
        envs={rank: {} for rank in range(4)},
        logs_specs=DefaultLogsSpecs(str(tmp_path)),
        start_method=method,
        supervision=Supervision(run_id=run_id, isolate="cgroup"),
    ).wait()
    assert result is not None
    (place,) = set(result.return_values.values())
    assert run_of_leaf(place) == run_id


@needs_cgroup2
def test_a_fork_bomb_is_ended_at_one_stroke(tmp_path: Path) -> None:
    """More processes that fork and end all the time than a sweep could run after on a busy host."""
    run_id = f"test-{os.getpid()}-bomb"
    context = start_processes(
        name="h",
        entrypoint=sys.executable,
        args={0: (str(SCRIPTS / "hoppers.py"), "16")},
        envs={0: {}},
        logs_specs=DefaultLogsSpecs(str(tmp_path), redirects=Std.ALL),
        start_method="spawn",
        supervision=Supervision(run_id=run_id, isolate="cgroup", shutdown_timeout=0),
    )
    result = context.wait()
    assert result is not None
    assert result.failures[0].exitcode == 3
    assert [members(run_id).pids for _ in range(10)] == [set()] * 10
    assert [path for path in leaves() if run_id in path] == []


@needs_cgroup2
def test_reap_removes_the_cgroup_of_a_lost_run(tmp_path: Path) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDWR)
    environ = {**os.environ, "ISOLATE": "cgroup", "PYTHONPATH": SOURCE}
    with subprocess.Popen(
        [sys.executable, str(SCRIPTS / "idle.py"), "binary", fifo, str(tmp_path / "logs")],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as launcher:
        assert launcher.stdout is not None
        _, guardian, run_id, *workers = launcher.stdout.readline().split()
        while os.read(reader, 4096).count(b"\n") < 1:
            pass
        os.close(reader)
        around = leaf_around(int(workers[0]))
        assert around is not None
        for pid in (launcher.pid, int(guardian)):  # neither sees the other's end, nor continues it
            stop(pid)
        os.kill(int(guardian), signal.SIGKILL)
        launcher.kill()
    ended = subprocess.run(
        [sys.executable, "-m", "procession", "reap", run_id], env=environ, check=False
    )
    assert ended.returncode == 0
    assert wait_gone([int(pid) for pid in workers]) == []
    assert not Path(around).exists()


@needs_cgroup2
def test_a_deserted_cgroup_is_removed_by_reap() -> None:
    leaf = make_leaf("nobody-has-this-id")
    remove_deserted_cgroups([leaf.path], ["nobody-has-this-id"])
    assert Path(leaf.path).exists()
    remove_deserted_cgroups([leaf.path], ["another-id"])
    assert not Path(leaf.path).exists()


def test_where_there_is_none_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("procession._os.cgroup.own_directory", lambda: str(tmp_path))
    with pytest.raises(
        UsageError, match=r"isolate cgroup: .*cgroup.kill: No such file or directory"
    ):
        start_processes(
            name="c",
            entrypoint="true",
            args={0: ()},
            envs={0: {}},
            logs_specs=DefaultLogsSpecs(),
            start_method="spawn",
            supervision=Supervision(isolate="cgroup"),
        )
    assert list(tmp_path.iterdir()) == []


def test_a_leaf_that_is_gone_is_no_error(tmp_path: Path) -> None:
    leaf = Leaf(str(tmp_path / "gone"))
    leaf.add(os.getpid())
    leaf.kill()
    leaf.remove()
