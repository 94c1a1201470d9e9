"""What functions return: any size, any number of ranks, whatever else the worker leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
from tests.real.functions import METHODS, PATIENCE, end, launch

from procession.errors import NotPicklableError
from procession.multiprocessing import (
    RunProcsResult,
)
from procession.testing import wait_gone

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "scripts"))

import jobs


def run(tmp: Path, method: str, fn: Any, *args: Any, ranks: int = 1) -> RunProcsResult:
    return end(launch(tmp, method, fn, dict.fromkeys(range(ranks), args)))


@pytest.mark.parametrize("method", METHODS)
def test_many_ranks_return_much_at_once(tmp_path: Path, method: str) -> None:
    result = run(tmp_path, method, jobs.big, 8 << 20, ranks=8)
    assert [len(value) for value in result.return_values.values()] == [8 << 20] * 8


@pytest.mark.parametrize("method", METHODS)
def test_a_worker_with_much_to_say_ends_before_anybody_asks(tmp_path: Path, method: str) -> None:
    gang = launch(tmp_path, method, jobs.big, {0: (64 << 20,)})
    try:
        assert wait_gone([gang.pids()[0]], PATIENCE) == []
        result = gang.wait(PATIENCE)
    finally:
        gang.close()
    assert result is not None
    assert len(result.return_values[0]) == 64 << 20


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [0, 1, 1 << 10, 1 << 20])
def test_arrays(tmp_path: Path, method: str, size: int) -> None:
    value = run(tmp_path, method, jobs.array, size).return_values[0]
    assert numpy.array_equal(value["data"], numpy.arange(size, dtype="f8"))
    assert value["last"] == size - 1
    assert value["data"].flags.aligned
    value["data"] += 1  # it is ours to change


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [3, 1 << 20])
def test_arrays_as_arguments_are_the_workers_own(tmp_path: Path, method: str, size: int) -> None:
    data = numpy.ones(size)
    result = run(tmp_path, method, jobs.doubled, data, ranks=2)
    for value, aligned in result.return_values.values():
        assert (value.sum(), aligned) == (2 * size, True)
    assert data.sum() == size


def test_the_launcher_holds_one_copy(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {os.path.dirname(jobs.__file__)!r})\n"
        "import jobs, numpy, resource\n"
        "from procession.multiprocessing import DefaultLogsSpecs, start_processes\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10\n"
        "def start(fn, size):\n"
        "    specs = DefaultLogsSpecs(sys.argv[1])\n"
        "    return start_processes('w', fn, {0: (size,)}, {0: {}}, specs).wait()\n"
        "if __name__ == '__main__':\n"
        "    start(jobs.big, 1 << 20); start(jobs.array, 1 << 17)\n"
        "    before = peak(); result = start(jobs.array, 32 << 20)\n"  # 256 MiB
        "    mapped = peak(); del result; result = start(jobs.big, 256 << 20)\n"
        "    print(mapped - before, peak() - mapped)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "logs")],
        check=True, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    array, text = map(int, done.stdout.split())
    assert array < 280  # MiB
    assert text < 280


@pytest.mark.parametrize("method", METHODS)
def test_a_child_that_holds_everything_open_holds_up_nothing(tmp_path: Path, method: str) -> None:
    result = run(tmp_path, method, jobs.leaves_a_child_that_holds_everything)
    assert list(result.return_values) == [0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("fn", "value"),
    [
        (jobs.is_returned_from_by_a_child_too, "the worker's"),
        (jobs.is_left_by_an_exception_in_a_child_too, 1),
    ],
)
def test_a_child_that_returns_too_says_nothing(
    tmp_path: Path, method: str, fn: Any, value: Any
) -> None:
    result = run(tmp_path, method, fn)
    assert result.return_values == {0: value}
    assert not list(tmp_path.rglob("error.json"))


@pytest.mark.parametrize("method", METHODS)
def test_a_thread_may_go_on_after_the_function(tmp_path: Path, method: str) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    gang = launch(tmp_path, method, jobs.goes_on_in_a_thread, {0: (str(fifo),)})
    try:
        assert gang.wait(0.2) is None
        fifo.write_text("end")
        result = gang.wait(PATIENCE)
    finally:
        gang.close()
    assert result is not None
    assert result.return_values == {0: "returned"}
    assert Path(result.stdouts[0]).read_text() == "the thread has ended\n"


@pytest.mark.parametrize("method", METHODS)
def test_a_function_that_closes_what_is_not_its_own(tmp_path: Path, method: str) -> None:
    failure = run(tmp_path, method, jobs.closes_all).failures[0]
    assert isinstance(failure.message, dict)
    assert "was closed by the function" in failure.message["message"]
    file = tmp_path / "theirs"
    failure = run(tmp_path, method, jobs.opens_a_file_where_ours_was, str(file)).failures[0]
    assert isinstance(failure.message, dict)
    assert "was closed by the function" in failure.message["message"]
    assert file.read_bytes() == b""


@pytest.mark.parametrize("method", METHODS)
def test_what_cannot_be_pickled_is_the_ranks_failure(tmp_path: Path, method: str) -> None:
    failure = run(tmp_path, method, jobs.returns_a_lock).failures[0]
    assert isinstance(failure.message, dict)
    assert "the return value, of type lock, cannot be pickled" in failure.message["message"]
    shown = failure.message["extraInfo"]["py_callstack"]
    assert "cannot pickle '_thread.lock' object" in shown
    assert "_worker" not in shown  # our frames tell nobody why
    assert failure.exception is not None
    assert isinstance(failure.exception.__cause__, TypeError)
    failure = run(tmp_path, method, jobs.deep).failures[0]
    assert failure.exception is not None
    assert isinstance(failure.exception.__cause__, RecursionError)


@pytest.mark.parametrize("method", METHODS)
def test_what_cannot_be_rebuilt_is_the_ranks_failure(tmp_path: Path, method: str) -> None:
    args = {rank: (rank,) for rank in range(3)}
    gang = launch(tmp_path, method, jobs.returns_what_cannot_be_rebuilt, args)
    result = gang.wait(PATIENCE)
    gang.close()
    assert result is not None
    assert result.is_failed()
    assert list(result.failures) == [1]
    assert result.return_values == {0: 0, 2: 2}  # nothing else is lost
    failure = result.failures[1]
    assert (failure.exitcode, failure.local_rank) == (0, 1)
    assert str(failure.message).startswith(
        "the return value of local rank 1 cannot be rebuilt here"
    )
    assert isinstance(failure.exception, NotPicklableError)
    assert isinstance(failure.exception.__cause__, AttributeError)


@pytest.mark.parametrize("method", METHODS)
def test_values_are_there_for_who_closes_before_waiting(tmp_path: Path, method: str) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with launch(tmp_path, method, jobs.goes_on_in_a_thread, {0: (str(fifo),)}) as gang:
        fifo.write_text("end")
        result = gang.wait(PATIENCE)
    assert gang.wait(0) is result
    assert result is not None
    assert result.return_values == {0: "returned"}


NOTEBOOK = """
import sys
from procession.multiprocessing import DefaultLogsSpecs, start_processes

class Point:
    count = 0
    def __init__(self, x): self.x = x

class PointError(Exception): pass

def work(x):
    class Local:
        value = x
    Point.count = 99
    return Point(x), Local, Point, helper

def helper(x): return x + OFFSET

def fail(x):
    raise PointError(Point(x))

OFFSET = 1

def run(fn):
    specs = DefaultLogsSpecs(sys.argv[2])
    return start_processes('w', fn, {0: (4,)}, {0: {}}, specs, start_method=sys.argv[1]).wait()

point, local, cls, function = run(work).return_values[0]
print(type(point) is Point, point.x, local.value, cls is Point, Point.count, function is helper)
error = run(fail).failures[0].exception
print(type(error) is PointError, type(error.args[0]) is Point, error.args[0].x)
"""


@pytest.mark.parametrize("method", METHODS)
def test_classes_of_a_main_without_a_file(tmp_path: Path, method: str) -> None:
    done = subprocess.run(
        [sys.executable, "-", method, str(tmp_path / "logs")],
        input=NOTEBOOK, check=False, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert done.stdout == "True 4 4 True 0 True\nTrue True 4\n"
    assert done.stderr.startswith('Traceback (most recent call last):\n  File "<stdin>", line 2')
