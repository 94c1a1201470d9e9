"""Redirects in real processes: python, C and children write to one fd, and nothing gets mixed up."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parents[2] / "src"
PRELUDE = """
import ctypes, io, os, sys, threading
from procession.multiprocessing.redirects import get_libc, redirect, redirect_stderr, redirect_stdout
def say(word):
    "One word from Python and C, both left in their buffers."
    print("python", word.encode("utf-8", "backslashreplace").decode())
    get_libc().printf(b"c " + word.encode("utf-8", "backslashreplace") + b"\\n")
def child(word, fd=1):
    os.system(f"echo child {word} >&{fd}")
"""


class Outcome(NamedTuple):
    stdout: list[str]
    stderr: list[str]


def run(directory: Path, program: str, *, status: int = 0) -> Outcome:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(program)],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return Outcome(done.stdout.splitlines(), done.stderr.splitlines())


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_every_writer_is_redirected_and_comes_back(tmp_path: Path) -> None:
    outcome = run(
        tmp_path,
        """
        say("before")
        with redirect_stdout("log"):
            say("inside")
        say("after")
        child("after")
        """,
    )
    # Python's buffer and C's are flushed at each turn; which of the two first is of no account.
    assert sorted(lines(tmp_path / "log")) == ["c inside", "python inside"]
    assert sorted(outcome.stdout[:2]) == ["c before", "python before"]
    assert sorted(outcome.stdout[2:]) == ["c after", "child after", "python after"]


def test_a_child_inherits_the_file(tmp_path: Path) -> None:
    assert run(tmp_path, "with redirect_stdout('log'): child('x')").stdout == []
    assert lines(tmp_path / "log") == ["child x"]


def test_stderr(tmp_path: Path) -> None:
    outcome = run(
        tmp_path,
        """
        with redirect_stderr("log"):
            print("python", file=sys.stderr)
            child("x", 2)
            print("out")
        print("after", file=sys.stderr)
        """,
    )
    assert outcome == (["out"], ["after"])
    assert lines(tmp_path / "log") == ["python", "child x"]


def test_both_at_once_into_one_file_each(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        with redirect("stdout", "out"), redirect("stderr", "err"):
            print("o"); print("e", file=sys.stderr)
        """,
    )
    assert (lines(tmp_path / "out"), lines(tmp_path / "err")) == (["o"], ["e"])


def test_blocks_nest(tmp_path: Path) -> None:
    outcome = run(
        tmp_path,
        """
        with redirect_stdout("outer"):
            print(1)
            with redirect_stdout("inner"):
                print(2)
            print(3)
        print(4)
        """,
    )
    assert outcome.stdout == ["4"]
    assert lines(tmp_path / "outer") == ["1", "3"]
    assert lines(tmp_path / "inner") == ["2"]


@pytest.mark.parametrize("end", ["raise ValueError('x')", "sys.exit(1)", "raise KeyboardInterrupt"])
def test_an_exception_puts_the_stream_back(tmp_path: Path, end: str) -> None:
    program = f"""
    before = os.fstat(1)
    fds = len(os.listdir("/proc/self/fd"))
    try:
        with redirect_stdout("log"):
            print("inside")
            {end}
    except BaseException:
        print(os.path.sameopenfile, os.fstat(1) == before, len(os.listdir("/proc/self/fd")) - fds)
    """
    assert run(tmp_path, program).stdout[0].endswith("True 0")
    assert lines(tmp_path / "log") == ["inside"]


def test_the_file_is_emptied_and_appended_to(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("old\n" * 100)
    run(
        tmp_path,
        """
        with redirect_stdout("log"):
            print("one", flush=True)
            os.system("echo two >> log")
            print("three")
        """,
    )
    assert lines(tmp_path / "log") == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("std", "file", "error"),
    [
        ("stdin", "log", "ValueError"),
        ("stdout", "gone/log", "FileNotFoundError"),
        ("stdout", ".", "IsADirectoryError"),
    ],
)
def test_what_cannot_be_leaves_all_as_it_was(
    tmp_path: Path, std: str, file: str, error: str
) -> None:
    program = f"""
    fds = os.listdir("/proc/self/fd")
    try:
        with redirect({std!r}, {file!r}): pass
    except Exception as error:
        print(type(error).__name__, os.listdir("/proc/self/fd") == fds)
    """
    assert run(tmp_path, program).stdout == [f"{error} True"]


def test_an_unknown_stream_is_named(tmp_path: Path) -> None:
    outcome = run(tmp_path, "with redirect('stdlog', 'log'): pass", status=1)
    assert outcome.stderr[-1].startswith(
        "ValueError: unknown standard stream <stdlog>, must be one of {'std"
    )
    assert not (tmp_path / "log").exists()


REPLACED = {
    "a buffer": "io.StringIO()",
    "nothing": "None",
    "an object without fileno": "type('Sink', (), {'write': lambda self, text: 0, 'flush': print})()",
    "a closed file": "open('other', 'w')\nsys.stdout.close()",
}


@pytest.mark.parametrize("name", REPLACED)
def test_a_stream_without_fd_gets_a_stand_in(tmp_path: Path, name: str) -> None:
    program = f"""
sys.stdout = {REPLACED[name]}
theirs = sys.stdout
with redirect_stdout("log"):
    say("inside é \\udce4")
    child("inside")
    with redirect_stdout("nested"): print("nested")
    print("more \\udce4")
assert sys.stdout is theirs
os.write(1, b"after\\n")
"""
    assert run(tmp_path, program).stdout == ["after"]
    content = (tmp_path / "log").read_text(encoding="utf-8", errors="replace")
    for word in ("python inside é \\udce4", "c inside", "child inside", "more \\udce4"):
        assert word in content
    assert lines(tmp_path / "nested") == ["nested"]


def test_the_original_of_a_replaced_stream_turns_too(tmp_path: Path) -> None:
    program = """
    print("before")
    sys.stdout = io.StringIO()
    with redirect_stdout("log"):
        print("inside")
        sys.__stdout__.write("direct\\n")
    sys.__stdout__.write("after\\n")
    """
    assert run(tmp_path, program).stdout == ["before", "after"]
    assert sorted(lines(tmp_path / "log")) == ["direct", "inside"]


def test_a_stream_on_another_fd_is_redirected_with_the_real_one(tmp_path: Path) -> None:
    program = """
    original, sys.stdout = sys.stdout, open("other", "w")
    print("other before")
    with redirect_stdout("log"):
        say("inside")
        child("inside")
    print("other after", os.get_inheritable(sys.stdout.fileno()))
    sys.stdout.close()
    sys.stdout = original
    print("end")
    """
    assert run(tmp_path, program).stdout == ["end"]
    assert lines(tmp_path / "other") == ["other before", "other after False"]
    assert sorted(lines(tmp_path / "log")) == ["c inside", "child inside", "python inside"]


def test_a_closed_stream_cannot_be_redirected(tmp_path: Path) -> None:
    program = """
    os.close(1)
    try:
        with redirect_stdout("log"): pass
    except OSError as error: print(error.strerror, file=sys.stderr)
    sys.stdout = None
    """
    assert run(tmp_path, program).stderr == ["Bad file descriptor"]
    assert not (tmp_path / "log").exists()


def test_threads_write_to_the_file_while_the_block_runs(tmp_path: Path) -> None:
    program = """
    go, said, end = threading.Event(), threading.Event(), threading.Event()
    def work():
        go.wait(); print("thread inside"); said.set()
        end.wait(); print("thread after")
    thread = threading.Thread(target=work)
    thread.start()
    with redirect_stdout("log"):
        go.set(); said.wait()
    end.set(); thread.join()
    """
    assert run(tmp_path, program).stdout == ["thread after"]
    assert lines(tmp_path / "log") == ["thread inside"]


def test_a_full_disk_is_told_and_the_stream_put_back(tmp_path: Path) -> None:
    program = """
    try:
        with redirect_stdout("/dev/full"): print("lost")
    except OSError as error:
        os.write(1, error.strerror.encode())
    os._exit(0)
    """
    assert run(tmp_path, program).stdout == ["No space left on device"]


def test_nothing_is_loaded_before_it_is_used() -> None:
    path = SOURCE / "procession/multiprocessing/redirects.py"
    code = f"import runpy, sys; runpy.run_path({str(path)!r}); print('ctypes' in sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=True)
    assert done.stdout == b"False\n"
