"""Binaries as workers: starting, ending, failing, and what a failed start leaves."""

from __future__ import annotations

import math
import os
import resource
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.real.pace import left_at_once

from procession._os.runlock import run_of_lock
from procession.errors import GuardianLostError, UsageError
from procession.multiprocessing import (
    DefaultLogsSpecs,
    LogsDest,
    LogsSpecs,
    PContext,
    Std,
    SubprocessContext,
    Supervision,
    start_processes,
)
from procession.testing import stop


def launch(
    tmp: Path, binary: str, *args: Any, nprocs: int = 2, grace: float = 30, **more: Any
) -> PContext:
    return start_processes(
        name="w",
        entrypoint=binary,
        args=dict.fromkeys(range(nprocs), args),
        envs={rank: {"LOCAL_RANK": str(rank)} for rank in range(nprocs)},
        logs_specs=more.pop("logs_specs", DefaultLogsSpecs(str(tmp), redirects=Std.ALL)),
        supervision=Supervision(shutdown_timeout=grace, until=more.pop("until", int)),
        **more,
    )


def read(path: str) -> str:
    return Path(path).read_text()


def test_success(tmp_path: Path) -> None:
    result = launch(
        tmp_path, "sh", "-c", 'echo "out $LOCAL_RANK"; echo "err $LOCAL_RANK" >&2'
    ).wait()
    assert result is not None
    assert not result.is_failed()
    assert result.return_values == {0: None, 1: None}
    assert [read(result.stdouts[rank]) for rank in (0, 1)] == ["out 0\n", "out 1\n"]
    assert [read(result.stderrs[rank]) for rank in (0, 1)] == ["err 0\n", "err 1\n"]


def test_arguments_are_made_text_and_a_bare_string_is_one_argument(tmp_path: Path) -> None:
    context = start_processes(
        "w", "echo", {0: (1, [2, 3]), 1: "hello"}, {0: {}, 1: {}},  # type: ignore[dict-item]
        DefaultLogsSpecs(str(tmp_path), redirects=Std.OUT),
    )  # fmt: skip
    result = context.wait()
    assert result is not None
    assert [read(result.stdouts[rank]) for rank in (0, 1)] == ["1 [2, 3]\n", "hello\n"]


@pytest.mark.parametrize(
    ("script", "exitcode"),
    [("exit 42", 42), ("kill -SEGV $$", -signal.SIGSEGV), ("kill -KILL $$", -signal.SIGKILL)],
)
def test_a_failure_stops_the_others(tmp_path: Path, script: str, exitcode: int) -> None:
    context = launch(
        tmp_path, "sh", "-c", f"[ $LOCAL_RANK = 1 ] && {script}; exec sleep 1000", nprocs=3
    )
    began = time.monotonic()
    result = context.wait()
    assert time.monotonic() - began < 25  # no worker has used up its grace
    assert result is not None
    assert {rank: failure.exitcode for rank, failure in result.failures.items()} == {1: exitcode}
    assert {r: f.exitcode for r, f in result.stopped.items()} == {0: -15, 2: -15}


def test_quick_ends_while_others_are_started(tmp_path: Path) -> None:
    """Workers that end before the last has been started are judged with all others."""
    for _ in range(5):
        result = launch(tmp_path, "true", nprocs=16).wait()
        assert result is not None
        assert len(result.return_values) == 16
        result = launch(tmp_path, "sh", "-c", "exit $LOCAL_RANK", nprocs=8).wait()
        assert result is not None
        assert result.failures


def test_wait_with_a_timeout_only_looks(tmp_path: Path) -> None:
    context = launch(tmp_path, "sleep", 1000)
    assert context.wait(0) is None
    began = time.monotonic()
    assert context.wait(0.1, period=60) is None
    assert 0.1 <= time.monotonic() - began < 30
    context.close()


def test_wait_again_gives_the_same_result(tmp_path: Path) -> None:
    context = launch(tmp_path, "true")
    assert context.wait() is context.wait(0)
    context.close()
    context.close()


def test_close_kills_what_ignores_the_signal(tmp_path: Path) -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 1000; done"
    context = launch(tmp_path, "sh", "-c", script, nprocs=2)
    for path in context.stdouts.values():
        wait_for_text(path, "ready\n")
    pids = context.pids()
    began = time.monotonic()
    context.close(timeout=0.3)
    assert 0.3 <= time.monotonic() - began < 25
    assert left_at_once(pids.values()) == []


def test_a_closed_gang_has_not_succeeded(tmp_path: Path) -> None:
    context = launch(tmp_path, "sleep", 1000)
    context.close()
    result = context.wait(0)
    assert result is not None
    assert result.is_failed()
    assert (result.return_values, result.failures, sorted(result.stopped)) == ({}, {}, [0, 1])


def test_a_stopped_worker_heeds_the_signal(tmp_path: Path) -> None:
    context = launch(tmp_path, "sleep", 1000)
    stop(context.pids()[0])
    began = time.monotonic()
    context.close()
    assert time.monotonic() - began < 25  # of a grace of 30 s


def test_close_passes_its_own_signal(tmp_path: Path) -> None:
    context = launch(
        tmp_path,
        "sh",
        "-c",
        "trap 'echo usr1; exit 0' USR1; echo ready; while :; do sleep 0.01; done",
    )
    for path in context.stdouts.values():
        wait_for_text(path, "ready\n")
    context.close(signal.SIGUSR1)
    assert [read(path) for path in context.stdouts.values()] == ["ready\nusr1\n"] * 2


def test_a_wrapper_that_dies_leaves_its_child_the_grace(tmp_path: Path) -> None:
    """TERM kills the shell at once; the trainer under it still gets TERM and writes its checkpoint."""
    trainer = (
        "import signal, sys, time\n"
        "def save(*_):\n time.sleep(0.3); open(sys.argv[1], 'w').write('saved'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "print('ready', flush=True)\n"
        "while True: signal.pause()"
    )
    checkpoint = tmp_path / "checkpoint"
    wrapper = f'python3 -c "{trainer}" {checkpoint}; true'
    context = launch(tmp_path / "logs", "bash", "-c", wrapper, nprocs=1)
    wait_for_text(context.stdouts[0], "ready\n")
    context.close(timeout=20)
    assert checkpoint.read_text() == "saved"


def test_leftovers_of_a_success_are_ended(tmp_path: Path) -> None:
    context = launch(tmp_path, "sh", "-c", "setsid sleep 1000 & echo $!", nprocs=1)
    result = context.wait()
    assert result is not None
    assert not result.is_failed()
    assert left_at_once([int(read(result.stdouts[0]))]) == []


@pytest.mark.parametrize(
    ("binary", "error"), [("/nonexistent/x", FileNotFoundError), ("no-such-binary", FileNotFoundError), ("/etc/passwd", PermissionError)]
)  # fmt: skip
def test_a_binary_that_cannot_be_started(tmp_path: Path, binary: str, error: type[OSError]) -> None:
    with pytest.raises(error) as caught:
        launch(tmp_path, binary, nprocs=8)
    assert caught.value.filename == binary


def test_rank_5_of_8_cannot_exec(tmp_path: Path) -> None:
    """The PATH of one rank's environment lacks the program; the other seven are gone again."""
    good, pidfile = tmp_path / "bin", tmp_path / "pids"
    good.mkdir()
    pidfile.touch()
    program = good / "worker"
    program.write_text(f"#!/bin/sh\necho $$ >> {pidfile}\nexec sleep 1000\n")
    program.chmod(0o755)
    paths = {rank: "/nonexistent" if rank == 5 else f"{good}:/usr/bin:/bin" for rank in range(8)}
    with pytest.raises(FileNotFoundError) as caught:
        start_processes(
            "w",
            "worker",
            dict.fromkeys(range(8), ()),
            {rank: {"PATH": path} for rank, path in paths.items()},
            DefaultLogsSpecs(str(tmp_path / "logs"), redirects=Std.ALL),
        )
    assert caught.value.local_rank == 5  # type: ignore[attr-defined]
    assert left_at_once(map(int, pidfile.read_text().split())) == []


def test_fds_run_out(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            launch(tmp_path, "sleep", 1000, nprocs=30)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class OneFile(LogsSpecs):
    """Two ranks into one file, as no LogsSpecs should."""

    @property
    def root_log_dir(self) -> str:
        return str(self._root_log_dir)

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        path = os.path.join(self.root_log_dir, "all.log")
        return LogsDest(stdouts=dict.fromkeys(envs, path), stderrs=dict.fromkeys(envs, path))


def test_two_ranks_cannot_share_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="local ranks 0 and 1 would both write to"):
        launch(tmp_path, "true", logs_specs=OneFile(str(tmp_path)))


def test_one_rank_may_use_one_file_for_both_streams(tmp_path: Path) -> None:
    context = launch(
        tmp_path,
        "sh",
        "-c",
        "echo a; echo b >&2; echo c",
        nprocs=1,
        logs_specs=OneFile(str(tmp_path)),
    )
    context.wait()
    assert (tmp_path / "all.log").read_text() == "a\nb\nc\n"


@pytest.mark.parametrize(
    ("args", "envs"), [({0: ()}, {0: {}, 1: {}}), ({0: (), 2: ()}, {0: {}, 1: {}})]
)
def test_maps_that_do_not_match(tmp_path: Path, args: Any, envs: Any) -> None:
    with pytest.raises(RuntimeError, match="local rank mapping mismatch"):
        start_processes("w", "true", args, envs, DefaultLogsSpecs(str(tmp_path)))


@pytest.mark.parametrize(
    ("binary", "words", "error", "says"),
    [
        ("echo", ("a\0b",), ValueError, "embedded null byte"),
        ("echo", ("a", "\0"), ValueError, "embedded null byte"),
        ("echo", ("\ud800",), ValueError, "surrogates not allowed"),
        ("", (), FileNotFoundError, "no program is named by an empty string"),
    ],
)
def test_what_no_program_can_be_given_is_refused(
    tmp_path: Path, binary: str, words: tuple[str, ...], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        launch(tmp_path, binary, *words)


@pytest.mark.parametrize("grace", [math.nan, -1.0])
def test_a_grace_that_is_none_is_refused(grace: float) -> None:
    with pytest.raises(
        UsageError, match=r"^shutdown_timeout=.*: give seconds from 0 up, or math.inf"
    ):
        Supervision(shutdown_timeout=grace)


def test_a_context_is_started_once(tmp_path: Path) -> None:
    context = launch(tmp_path, "true")
    with pytest.raises(ValueError, match="was started before"):
        context.start()
    context.close()


def test_a_context_whose_start_failed_can_be_closed_and_has_no_result(tmp_path: Path) -> None:
    """Whatever the start failed of: before a worker was asked for, or by one of them."""
    for entrypoint, environ, error in (
        ("true", {"A=B": "C"}, ValueError),
        ("/no/such/program", {}, FileNotFoundError),
    ):
        context = SubprocessContext(
            "x", entrypoint, {0: ()}, {0: environ}, DefaultLogsSpecs(str(tmp_path))
        )
        with context, pytest.raises(error):
            context.start()
        for wait in (context.wait, context.pids):
            with pytest.raises(ValueError, match="start of this context has failed"):
                wait()
        with pytest.raises(ValueError, match="started before"):
            context.start()


def test_handlers_show_each_process(tmp_path: Path) -> None:
    context = launch(tmp_path, "sh", "-c", "exit 0")
    assert isinstance(context, SubprocessContext)
    handlers = context.subprocess_handlers
    assert {rank: handler.proc.pid for rank, handler in handlers.items()} == context.pids()
    assert handlers[1].proc.wait(30) == 0
    assert handlers[1].proc.poll() == 0
    context.close()


def test_environment_cwd_and_umask_are_the_callers_at_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FROM_CALLER", "yes")
    old = os.umask(0o027)
    try:
        script = (
            'echo "$FROM_CALLER $PWD $(umask) $(ulimit -n) $(nice)"; ls -l /proc/self/fd | wc -l'
        )
        result = launch(tmp_path / "logs", "bash", "-c", script, nprocs=1).wait()
    finally:
        os.umask(old)
    assert result is not None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    first, _count = read(result.stdouts[0]).splitlines()
    assert first == f"yes {tmp_path} 0027 {soft} {os.nice(0)}"


def test_a_worker_has_nothing_open_but_its_streams_and_the_lock(tmp_path: Path) -> None:
    leak = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(leak, True)
    try:
        script = "echo $PROCESSION_RUN_ID; readlink /proc/self/fd/3; exec ls /proc/self/fd"
        result = launch(tmp_path, "sh", "-c", script, nprocs=1).wait()
    finally:
        os.close(leak)
    assert result is not None
    run_id, lock, fds = read(result.stdouts[0]).split("\n", 2)
    assert run_of_lock(lock) == run_id
    assert fds.split() == ["0", "1", "2", "3", "4"]  # the last is ls reading the directory


def test_wait_and_start_work_in_another_thread(tmp_path: Path) -> None:
    results: list[Any] = []

    def run() -> None:
        results.append(launch(tmp_path, "true").wait())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not results[0].is_failed()


def test_close_beside_a_wait_in_another_thread(tmp_path: Path) -> None:
    context = launch(tmp_path, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
    for path in context.stdouts.values():
        wait_for_text(path, "ready\n")
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(context.wait()))
    thread.start()
    context.close(timeout=0.3)
    thread.join(30)
    assert [sorted(result.stopped) for result in results] == [[0, 1]]


def test_close_and_wait_of_two_threads_let_go_once(tmp_path: Path) -> None:
    for _ in range(30):
        context = launch(tmp_path, "sleep", "60", nprocs=1)
        results: list[Any] = []
        threads = [
            threading.Thread(target=lambda c=context, r=results: r.append(c.wait())),
            threading.Thread(target=lambda c=context: c.close(timeout=5)),
            threading.Thread(target=lambda c=context: c.close(timeout=5)),
        ]
        for thread in threads:
            thread.start()
        context.close()
        for thread in threads:
            thread.join(30)
        assert [sorted(result.stopped) for result in results] == [[0]]


def test_several_contexts_end_in_any_order(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    contexts = [launch(tmp_path / str(n), "true", nprocs=1) for n in range(3)]
    for context in (contexts[1], contexts[0], contexts[2]):
        assert context.wait() is not None
    assert signal.getsignal(signal.SIGTERM) == before


def wait_for_text(path: str, text: str) -> None:
    """Wait until a log holds ``text``: a look every few ms, bounded, since no event tells of it."""
    deadline = time.monotonic() + 20
    while not (os.path.exists(path) and text in read(path)):
        assert time.monotonic() < deadline, f"{path} never said {text!r}"
        time.sleep(0.005)


def test_after_the_time_by_which_all_had_to_be_gone_no_worker_starts(tmp_path: Path) -> None:
    """A launcher that had been stopped for that long, just before it started them."""
    context = launch(tmp_path, "sh", "-c", f"echo > {tmp_path}/started", nprocs=8, until=lambda: 1)
    with pytest.raises(GuardianLostError):
        context.wait()
    assert not (tmp_path / "started").exists()
