"""Functions as workers, by every start method: what surrounds the call."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.real.functions import METHODS, end, launch

from procession.errors import UsageError
from procession.multiprocessing import (
    DefaultLogsSpecs,
    RunProcsResult,
    start_processes,
)

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "scripts"))

import jobs


def run(tmp: Path, method: str, fn: Any, args: dict[int, Any]) -> RunProcsResult:
    return end(launch(tmp, method, fn, args))


@pytest.mark.parametrize("method", METHODS)
def test_results_and_output(tmp_path: Path, method: str) -> None:
    result = run(tmp_path, method, jobs.greet, {0: ("ann",), 1: ("bob",)})
    assert result.return_values == {0: ("ann", "0", True), 1: ("bob", "1", True)}
    assert [Path(result.stdouts[r]).read_text() for r in (0, 1)] == ["hello ann\n", "hello bob\n"]
    assert [Path(result.stderrs[r]).read_text() for r in (0, 1)] == [
        "careful ann\n",
        "careful bob\n",
    ]


@pytest.mark.parametrize("method", METHODS)
def test_an_exception(tmp_path: Path, method: str) -> None:
    result = run(tmp_path, method, jobs.fail, {0: (0,), 1: (1,), 2: (2,)})
    assert list(result.failures) == [1]
    failure = result.failures[1]
    assert failure.exitcode == 1
    assert isinstance(failure.message, dict)
    assert failure.message["message"] == "ValueError: boom"
    traceback = failure.message["extraInfo"]["py_callstack"]
    assert traceback.startswith("Traceback (most recent call last):\n  File ")
    assert "_worker" not in traceback
    assert Path(result.stderrs[1]).read_text() == traceback
    assert {rank: stopped.exitcode for rank, stopped in result.stopped.items()} == {0: -15, 2: -15}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("inner", METHODS)
def test_helpers_inside_a_worker(tmp_path: Path, method: str, inner: str) -> None:
    """Processes, pools of processes and of threads."""
    result = run(tmp_path, method, jobs.nested, {0: (inner,)})
    assert result.return_values == {0: ([9], [1, 2], [1, 2], [1, 2])}


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_helpers_inside_a_worker_of_a_main_without_a_file(tmp_path: Path, method: str) -> None:
    """By fork the worker's main is the launcher's, from which Python itself cannot spawn."""
    done = subprocess.run(
        [sys.executable, "-", method, str(tmp_path / "logs")],
        input="import multiprocessing, sys\n"
        "from procession.multiprocessing import DefaultLogsSpecs, start_processes\n"
        "def work():\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        return pool.map(abs, [-1, -2])\n"
        "specs = DefaultLogsSpecs(sys.argv[2])\n"
        "gang = start_processes('w', work, {0: ()}, {0: {}}, specs, start_method=sys.argv[1])\n"
        "print(gang.wait().return_values)\n",
        check=False, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("{0: [1, 2]}\n", "")


@pytest.mark.parametrize("method", METHODS)
def test_a_launcher_in_an_executors_thread(tmp_path: Path, method: str) -> None:
    """As ``asyncio.to_thread`` runs it; a copy of that thread must not wait for itself."""
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(run, tmp_path, method, jobs.nested, {0: ("fork",)}).result()
    assert result.return_values == {0: ([9], [1, 2], [1, 2], [1, 2])}


SETTINGS = """
import multiprocessing, sys
from procession.multiprocessing import DefaultLogsSpecs, start_processes

multiprocessing.set_start_method("spawn", force=True)

def work(): return multiprocessing.get_start_method(), sys._xoptions

if __name__ == "__main__":
    multiprocessing.set_executable(sys.argv[3])
    gang = start_processes("w", work, {0: ()}, {0: {}}, DefaultLogsSpecs(sys.argv[2]), start_method=sys.argv[1])
    print(gang.wait().return_values)
"""


@pytest.mark.parametrize(
    ("method", "settings"),
    [("spawn", ("spawn", {"by": "wrapper"})), ("fork", ("fork", {})), ("forkserver", ("spawn", {"by": "wrapper"}))],
)  # fmt: skip
def test_settings_of_multiprocessing(
    tmp_path: Path, method: str, settings: tuple[str, dict[str, str]]
) -> None:
    """The interpreter that it was told to start, and the start method that imports have set."""
    (tmp_path / "settings.py").write_text(SETTINGS)
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -X by=wrapper "$@"\n')
    wrapper.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "settings.py", method, str(tmp_path / "logs"), str(wrapper)],
        check=False, capture_output=True, text=True, timeout=50, cwd=tmp_path,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (f"{ {0: settings} }\n", "")


@pytest.mark.parametrize("method", METHODS)
def test_signals_are_as_in_a_fresh_process(tmp_path: Path, method: str) -> None:
    old = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        result = run(tmp_path, method, jobs.dispositions, {0: ()})
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        signal.signal(signal.SIGUSR1, old)
    assert result.return_values == {0: (True, True, set())}


@pytest.mark.parametrize("method", METHODS)
def test_environment(tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_CALLER", "yes")
    values = run(tmp_path, method, jobs.whole_environment, {0: ()}).return_values[0]
    ours = {"LOCAL_RANK", "TORCHELASTIC_ERROR_FILE", "PROCESSION_RUN_ID"}
    # Python itself sets LC_CTYPE where there is no locale (PEP 538).
    theirs = {k: v for k, v in values.items() if k not in ours | {"LC_CTYPE"}}
    assert theirs == {k: v for k, v in os.environ.items() if k != "LC_CTYPE"}
    assert ours <= set(values)


def memory_of_the_caller() -> list[str]:
    return NOTES


NOTES: list[str] = []


def test_fork_has_the_callers_memory_and_fds(tmp_path: Path) -> None:
    NOTES.append("written before the fork")
    reader, writer = os.pipe()
    try:
        assert run(tmp_path, "fork", memory_of_the_caller, {0: ()}).return_values == {0: NOTES}
        run(tmp_path, "fork", lambda: os.write(writer, b"hello"), {0: ()})
        assert os.read(reader, 10) == b"hello"
    finally:
        os.close(writer)
    try:
        assert os.read(reader, 10) == b""  # the guardian has let go of its copy
    finally:
        os.close(reader)
        NOTES.clear()


def test_an_unguarded_main_is_refused_as_by_multiprocessing(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(
        "import sys\n"
        "from procession.multiprocessing import DefaultLogsSpecs, start_processes\n"
        "def work(): pass\n"
        "c = start_processes('w', work, {0: ()}, {0: {}}, DefaultLogsSpecs(sys.argv[1]))\n"
        "print(c.wait().failures[0].message['message'])\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "logs")],
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert "Put the start under 'if __name__ == \"__main__\":'" in done.stdout


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ahead", [["-m", "package"], ["package"]])
def test_the_main_module_of_a_package_is_not_run_again(
    tmp_path: Path, method: str, ahead: list[str]
) -> None:
    """It has no guard, because nothing but its start imports it."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "__main__.py").write_text(
        "import sys\n"
        "from procession.multiprocessing import DefaultLogsSpecs, start_processes\n"
        "def work(n): return n + 1\n"
        "c = start_processes('w', work, {0: (41,)}, {0: {}}, DefaultLogsSpecs(sys.argv[2]),"
        " start_method=sys.argv[1])\n"
        "print(c.wait().return_values)\n"
    )
    done = subprocess.run(
        [sys.executable, *ahead, method, str(tmp_path / "logs")],
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
        cwd=tmp_path,
    )
    assert (done.stdout, done.stderr) == ("{0: 42}\n", "")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_of_the_caller(tmp_path: Path, method: str, closed: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from procession.multiprocessing import DefaultLogsSpecs, start_processes\n"
        "if __name__ == '__main__':\n"
        "    c = start_processes('w', abs, {0: (-42,)}, {0: {}}, DefaultLogsSpecs(sys.argv[2]),"
        " start_method=sys.argv[1])\n"
        "    open(sys.argv[3], 'w').write(str(c.wait().return_values))\n"
    )
    answer = tmp_path / "answer"
    words = [sys.executable, str(script), method, str(tmp_path / "logs"), str(answer)]
    subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *words], check=True, timeout=50)
    assert answer.read_text() == "{0: 42}"


@pytest.mark.parametrize("method", METHODS)
def test_workers_have_no_file_of_ours_for_a_closed_stream(tmp_path: Path, method: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "from procession.multiprocessing import DefaultLogsSpecs, start_processes\n"
        "def streams():\n"
        "    return [os.readlink(f'/proc/self/fd/{number}') for number in range(3)]\n"
        "if __name__ == '__main__':\n"
        "    c = start_processes('w', streams, {0: ()}, {0: {}}, DefaultLogsSpecs(sys.argv[2]),"
        " start_method=sys.argv[1])\n"
        "    open(sys.argv[3], 'w').write(str(c.wait().return_values))\n"
    )
    answer = tmp_path / "answer"
    words = [sys.executable, str(script), method, str(tmp_path / "logs"), str(answer)]
    closed = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh"]
    subprocess.run([*closed, *words], check=True, timeout=50)
    assert answer.read_text() == str({0: [os.devnull] * 3})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("entrypoint", "args", "env", "said"),
    [
        (None, (), {}, "entrypoint=None is no function; give one, or the path of a program as a"),
        (Path("/bin/true"), (), {}, r"entrypoint=PosixPath\('/bin/true'\) is no function"),
        (abs, 5, {}, r"args\[0\]=5: give a tuple of arguments, \(5,\)"),
        (abs, (5,), {1: "a"}, "1 is no name of an environment variable: give a text"),
    ],
)
def test_what_cannot_be_started_is_refused(
    tmp_path: Path, method: str, entrypoint: Any, args: Any, env: Any, said: str
) -> None:
    with pytest.raises((UsageError, TypeError), match=said):
        start_processes(
            "w",
            entrypoint,
            {0: args},
            {0: env},
            DefaultLogsSpecs(str(tmp_path)),
            start_method=method,
        )


@pytest.mark.parametrize("method", METHODS)
def test_an_environment_that_cannot_be_is_refused(tmp_path: Path, method: str) -> None:
    with pytest.raises(ValueError, match="embedded null byte"):
        start_processes(
            "w",
            abs,
            {0: (1,)},
            {0: {"A": "\0"}},
            DefaultLogsSpecs(str(tmp_path)),
            start_method=method,
        )
