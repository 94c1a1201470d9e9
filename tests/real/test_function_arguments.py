"""What functions are given, and what they are: by every start method, as the documentation says."""

from __future__ import annotations

import contextvars
import functools
import gc
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable
from multiprocessing.shared_memory import ShareableList, SharedMemory
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.real.functions import METHODS, PATIENCE, launch, values

from procession.errors import NotPicklableError
from procession.multiprocessing import (
    DefaultLogsSpecs,
    start_processes,
)

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "scripts"))

import jobs
import sharing

CONTEXTS = ["spawn", "fork", "forkserver"]


def run(tmp: Path, method: str, fn: Any, *args: Any) -> Any:
    return values(launch(tmp, method, fn, {0: args}))[0]


# --- the things of multiprocessing ---


def nothing(_: Any) -> None:
    """Needs nothing to be done."""


class Kind(NamedTuple):
    """One kind of thing, and what is done with it on both sides."""

    make: Callable[[Any], Any]  # from a multiprocessing context
    use: Callable[[Any], Any]  # in the worker
    gives: Any = None  # what the worker returns
    meanwhile: Callable[[Any], Any] = nothing  # here, while it runs
    then: Callable[[Any], Any] = nothing  # here, after it
    shows: Any = None  # what `then` returns
    locks: bool = True  # holds a semaphore, which belongs to its context


def held(lock: Any) -> Any:
    lock.acquire()
    return lock


def get(queue: Any) -> Any:
    return queue.get(timeout=PATIENCE)


def close(queue: Any) -> Any:
    item = queue.get(timeout=PATIENCE)
    queue.close()
    queue.join_thread()
    return item


WORD = "from the worker"
KINDS = {
    "Queue": Kind(lambda c: c.Queue(), sharing.put, then=close, shows=WORD),
    "JoinableQueue": Kind(
        lambda c: c.JoinableQueue(), sharing.take_and_finish, "x",
        meanwhile=lambda q: (q.put("x"), q.join(), q.close(), q.join_thread()),
    ),
    "SimpleQueue": Kind(
        lambda c: c.SimpleQueue(), sharing.take, "x", meanwhile=lambda q: q.put("x"), then=lambda q: q.close()
    ),
    "Event": Kind(lambda c: c.Event(), sharing.wait, True, meanwhile=lambda e: e.set()),
    "Lock": Kind(lambda c: held(c.Lock()), sharing.try_to_acquire, False),
    "RLock": Kind(lambda c: held(c.RLock()), sharing.try_to_acquire, False),
    "Semaphore": Kind(lambda c: c.Semaphore(1), sharing.try_to_acquire, True, then=lambda s: s.acquire(False), shows=False),
    "BoundedSemaphore": Kind(lambda c: held(c.BoundedSemaphore(1)), sharing.try_to_acquire, False),
    "Condition": Kind(
        lambda c: held(c.Condition()), sharing.notify, meanwhile=lambda c: c.wait(PATIENCE) or pytest.fail("no word")
    ),
    "Barrier": Kind(lambda c: c.Barrier(2), sharing.meet, meanwhile=lambda b: b.wait(PATIENCE)),
    "Value": Kind(lambda c: c.Value("i", 4), sharing.count, 5, then=lambda v: v.value, shows=5),
    "RawValue": Kind(lambda c: c.RawValue("i", 4), sharing.count_raw, 5, then=lambda v: v.value, shows=5, locks=False),
    "Array": Kind(lambda c: c.Array("i", 2), sharing.set_second, [0, 7], then=sharing.listed, shows=[0, 7]),
    "RawArray": Kind(lambda c: c.RawArray("i", 2), sharing.set_second, [0, 7], then=sharing.listed, shows=[0, 7], locks=False),
}  # fmt: skip


def context_rows() -> list[Any]:
    return [
        pytest.param(kind, context, method, id=f"{kind}-of-{context}-by-{method}")
        for kind in KINDS
        for context in CONTEXTS
        for method in METHODS
    ]


@pytest.mark.parametrize(("kind", "context", "method"), context_rows())
def test_things_of_every_context(tmp_path: Path, kind: str, context: str, method: str) -> None:
    how = KINDS[kind]
    thing = how.make(multiprocessing.get_context(context))
    if how.locks and context == "fork" and method != "fork":
        if sys.version_info >= (3, 11):  # before, Python does not notice, and the worker fails
            way_out = (
                rf"argument 0 of \w+, of type \w+, cannot be pickled: .*get_context\('{method}'\)"
            )
            with pytest.raises(NotPicklableError, match=way_out):
                launch(tmp_path, method, how.use, {0: (thing,)})
        return
    with launch(tmp_path, method, how.use, {0: (thing,)}) as gang:
        how.meanwhile(thing)
        assert values(gang) == {0: how.gives}
    assert how.then(thing) == how.shows


@pytest.mark.parametrize("method", METHODS)
def test_ends_of_pipes_and_sockets(tmp_path: Path, method: str) -> None:
    reader, writer = multiprocessing.Pipe(duplex=False)
    run(tmp_path, method, sharing.send, writer)
    assert reader.recv() == WORD
    writer.send("from here")
    assert run(tmp_path, method, sharing.receive, reader) == "from here"
    ours, theirs = socket.socketpair()
    run(tmp_path, method, sharing.send_bytes, theirs)
    theirs.close()
    assert ours.recv(100) == WORD.encode()
    for opened in (reader, writer, ours):
        opened.close()


@pytest.mark.parametrize("method", METHODS)
def test_shared_memory(tmp_path: Path, method: str) -> None:
    memory: Any = SharedMemory(create=True, size=16)
    numbers: Any = ShareableList([1, 2])
    try:
        assert run(tmp_path, method, jobs.write_shared, memory) == b"*"
        assert memory.buf[0] == 42
        assert run(tmp_path, method, sharing.set_second, numbers) == [1, 7]
        assert list(numbers) == [1, 7]
        assert run(tmp_path, method, jobs.write_shared, memory) == b"*"  # it is there still
    finally:
        memory.close()
        memory.unlink()
        numbers.shm.close()
        numbers.shm.unlink()


@pytest.mark.parametrize("method", METHODS)
def test_proxies_of_a_manager(tmp_path: Path, method: str) -> None:
    with multiprocessing.get_context("spawn").Manager() as manager:
        mapping, sequence, queue, lock = (
            manager.dict(), manager.list(), manager.Queue(), manager.Lock(),
        )  # fmt: skip
        run(tmp_path, method, sharing.set_key, mapping)
        run(tmp_path, method, sharing.append, sequence)
        assert run(tmp_path, method, sharing.use_held, {"things": [lock, queue]})
        assert (dict(mapping), list(sequence), queue.get()) == ({"key": WORD}, [WORD], WORD)


@pytest.mark.parametrize("method", METHODS)
def test_things_deep_inside_an_argument_and_in_a_closure(tmp_path: Path, method: str) -> None:
    context = multiprocessing.get_context(method)
    lock, queue = context.Lock(), context.Queue()
    reader, writer = context.Pipe(duplex=False)
    assert run(tmp_path, method, sharing.use_held, {"things": [lock, queue]}) is True
    lock.release()

    def with_closure() -> bool:
        queue.put("of a closure")
        writer.send("of a closure")
        return bool(lock.acquire(False))

    assert run(tmp_path, method, with_closure) is True
    assert [get(queue), close(queue), reader.recv()] == [WORD, "of a closure", "of a closure"]
    reader.close()
    writer.close()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_temporaries_live_until_every_worker_has_unpickled_them(
    tmp_path: Path, method: str
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    context = multiprocessing.get_context(method)
    with start_processes(
        "w",
        sharing.use_after,
        {0: (sharing.WaitsForWord(str(fifo)), context.Lock())},
        {0: {}},
        DefaultLogsSpecs(str(tmp_path)),
        start_method=method,
    ) as gang:
        gc.collect()
        fifo.write_text("go on")
        assert values(gang) == {0: True}


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_more_descriptors_than_one_message_carries(tmp_path: Path, method: str) -> None:
    ends = [end for _ in range(130) for end in multiprocessing.Pipe()]
    try:
        with pytest.raises(
            NotPicklableError, match=r"hold 260 file descriptors.*can be handed 246"
        ):
            launch(tmp_path, method, sharing.send, {0: (ends,)})
    finally:
        for opened in ends:
            opened.close()


LAUNCHER = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
import jobs, sharing
from multiprocessing.shared_memory import SharedMemory
from procession.multiprocessing import DefaultLogsSpecs, start_processes
if __name__ == "__main__":
    memory = SharedMemory(create=True, size=16)
    fifo = sharing.WaitsForWord(sys.argv[4])
    gang = start_processes("w", sharing.use_after, {0: (fifo, memory)}, {0: {}},
                           DefaultLogsSpecs(sys.argv[2]), start_method=sys.argv[1])
    print(memory.name, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("method", METHODS)
def test_shared_memory_of_a_launcher_that_is_killed_is_gone(tmp_path: Path, method: str) -> None:
    """The tracker has the last word: it lives until all who hold its pipe have ended."""
    script, fifo = tmp_path / "script.py", tmp_path / "fifo"
    script.write_text(LAUNCHER)
    os.mkfifo(fifo)
    here = os.path.dirname(jobs.__file__)
    done = subprocess.run(
        [sys.executable, script, method, str(tmp_path / "logs"), here, str(fifo)],
        check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=50,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    path = Path("/dev/shm") / done.stdout.strip()
    deadline = time.monotonic() + PATIENCE
    while path.exists() and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert not path.exists()


LEAVES = """
import os, sys
sys.path.insert(0, sys.argv[3])
import sharing
from procession.multiprocessing import DefaultLogsSpecs, Std, start_processes
if __name__ == "__main__":
    logs = DefaultLogsSpecs(sys.argv[2], redirects=Std.ALL)
    gang = start_processes("w", sharing.make_shared_memory, {0: (16,)}, {0: {}}, logs, start_method=sys.argv[1])
    print(os.path.exists("/dev/shm/" + gang.wait().return_values[0]))
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_shared_memory_that_a_worker_has_left_is_gone_with_it(tmp_path: Path, method: str) -> None:
    """Where the launcher has none; otherwise, and by fork, it is the launcher's: they share a tracker."""
    script = tmp_path / "script.py"
    script.write_text(LEAVES)
    done = subprocess.run(
        [sys.executable, script, method, str(tmp_path / "logs"), os.path.dirname(jobs.__file__)],
        check=False, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.parametrize("method", METHODS)
def test_shared_memory_by_its_name(tmp_path: Path, method: str) -> None:
    """It outlives the workers that have attached to it."""
    memory: Any = SharedMemory(create=True, size=16)
    try:
        for ranks in (1, 2):
            args = dict.fromkeys(range(ranks), (memory.name,))
            assert set(values(launch(tmp_path, method, sharing.attach, args)).values()) == {b"\0"}
    finally:
        memory.close()
        memory.unlink()


# --- what can be called ---


def closure(start: Any) -> Callable[[int], int]:
    return lambda number: start + number


def recursive() -> Callable[[int], int]:
    def add(number: int) -> int:
        return 1 + number if number < 100 else add(number - 1)

    return add


def local_class() -> Callable[[int], int]:
    class Local:
        def __call__(self, number: int) -> int:
            return 1 + number

    return Local()


CALLABLES: dict[str, Callable[[int], Any]] = {
    "a function of a module": jobs.add_one,
    "a builtin": abs,
    "a lambda": lambda number: 1 + number,
    "a closure": closure(1),
    "a closure that calls itself": recursive(),
    "a partial": functools.partial(jobs.add, 1),
    "a partial of a closure": functools.partial(closure(1)),
    "a callable object": jobs.Adder(1),
    "a callable object of a local class": local_class(),
    "a bound method": jobs.Adder(1).add,
    "a class method": jobs.Adder.add_to_class,
    "a static method": jobs.Adder.add_one,
    "a class": jobs.Adder,
    "a cached function": jobs.cached_add_one,
    "a method of a builtin": (1).__add__,
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("what", list(CALLABLES))
def test_callables(tmp_path: Path, method: str, what: str) -> None:
    value = run(tmp_path, method, CALLABLES[what], 41)
    expected = CALLABLES[what](41)
    assert value == expected or value.start == expected.start


MAIN = """
import functools, sys
from procession.multiprocessing import DefaultLogsSpecs, start_processes

class Adder:
    def __init__(self, start): self.start = start
    def __call__(self, number): return Point(self.start + number)
    def add(self, number): return self.start + number

class Point:
    def __init__(self, x): self.x = x

def add_one(number): return 1 + number

if __name__ == "__main__":
    def guarded(number): return helper(number)
    def helper(number): return Guarded(add_one(number))
    class Guarded(Point): pass

    def run(fn):
        gang = start_processes("w", fn, {0: (41,)}, {0: {}}, DefaultLogsSpecs(sys.argv[2]), start_method=sys.argv[1])
        return gang.wait().return_values[0]

    print(run(add_one), run(functools.partial(add_one)), run(Adder(1).add), run(lambda number: add_one(number)))
    point, under_guard, local = run(Adder(1)), run(guarded), run(Guarded)
    print(type(point) is Point, point.x, type(under_guard) is Guarded, under_guard.x, type(local) is Guarded)
"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", ["script", "module", "text", "stdin", "bytes"])
def test_callables_and_classes_of_main(tmp_path: Path, method: str, how: str) -> None:
    (tmp_path / "mainly.py").write_text(MAIN)
    words = {
        "script": ["mainly.py"], "module": ["-m", "mainly"], "text": ["-c", MAIN], "stdin": ["-"],
        "bytes": ["-bb", "mainly.py"],
    }[how]  # fmt: skip
    done = subprocess.run(
        [sys.executable, *words, method, str(tmp_path / "logs")],
        input=MAIN if how == "stdin" else None,
        check=False, capture_output=True, text=True, timeout=50, cwd=tmp_path,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("42 42 42 42\nTrue 42 True 42 True\n", "")


BOUND_LATER = """
import collections, enum, functools, sys
from procession.multiprocessing import DefaultLogsSpecs, start_processes

def work(): return "as it was imported"

def run(fn, *args):
    gang = start_processes("w", fn, {0: args}, {0: {}}, DefaultLogsSpecs(sys.argv[2]), start_method=sys.argv[1])
    return gang.wait().return_values[0]

def main():
    global late
    def late(): return "late"
    print(run(late))

def shouting(fn):
    @functools.wraps(fn)
    def shout(): return fn().upper()
    return shout

if __name__ == "__main__":
    Point = collections.namedtuple("Point", "x y")
    Colour = enum.Enum("Colour", "RED GREEN")
    print(run(Point, 1, 2), run(lambda colour: colour is Colour.RED, Colour.RED))
    main()
    work = shouting(work)
    print(run(work))
"""


@pytest.mark.parametrize("method", METHODS)
def test_what_only_the_main_module_has(tmp_path: Path, method: str) -> None:
    """By name the worker would find nothing, or what stood there before."""
    (tmp_path / "later.py").write_text(BOUND_LATER)
    done = subprocess.run(
        [sys.executable, "later.py", method, str(tmp_path / "logs")],
        check=False, capture_output=True, text=True, timeout=50, cwd=tmp_path,
    )  # fmt: skip
    expected = "Point(x=1, y=2) True\nlate\nAS IT WAS IMPORTED\n"
    assert (done.stdout, done.stderr) == (expected, "")


@pytest.mark.parametrize("method", METHODS)
def test_what_the_standard_pickler_refuses(tmp_path: Path, method: str) -> None:
    read_only = types.MappingProxyType({"a": 1})
    assert run(tmp_path, method, jobs.returned, read_only) == read_only


LOCK = threading.Lock()


class Circle:
    """Comes to its lock by way of itself."""

    def __init__(self) -> None:
        self.next, self.lock = [self], LOCK


def uses_a_global() -> Callable[[], Callable[[], object]]:
    return lambda: lambda: LOCK


def holds_a_lock(lock: Any) -> Callable[[], None]:
    return lambda: print(lock)


class HasALock:
    def __init__(self) -> None:
        self.settings = {"lock": LOCK}


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize(
    ("fn", "args", "words"),
    [
        (jobs.greet, (LOCK,), "argument 0 of greet, of type lock,"),
        (jobs.greet, ("ok", {"a": [1, LOCK]}), r"argument 1 of greet\['a'\]\[1\], of type lock,"),
        (jobs.greet, (jobs.Adder(LOCK),), r"argument 0 of greet\.start, of type lock,"),
        (holds_a_lock(LOCK), (), "the function holds_a_lock.<locals>.<lambda>, its variable lock, of type lock,"),
        (functools.partial(closure, LOCK), (), r"\.args\[0\], of type lock,"),
        (jobs.Adder(LOCK).add, (1,), r"the function Adder\.add\.__self__\.start, of type lock,"),
        (uses_a_global(), (), "the function uses_a_global.<locals>.<lambda>, its global LOCK, of type lock,"),
        (jobs.greet, (Circle(),), r"argument 0 of greet\.lock, of type lock,"),
        (jobs.greet, (contextvars.ContextVar("v"),), "argument 0 of greet, of type ContextVar,"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_named(
    tmp_path: Path, method: str, fn: Any, args: Any, words: str
) -> None:
    way_out = f'{words} cannot be pickled: TypeError: .*use start_method="fork"'
    with pytest.raises(NotPicklableError, match=way_out):
        launch(tmp_path, method, fn, {0: args})


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_what_can_be_sent_is_not_blamed(tmp_path: Path, method: str) -> None:
    """The things of multiprocessing can be pickled while a worker starts, and at no other time."""
    lock = multiprocessing.get_context(method).Lock()
    with pytest.raises(NotPicklableError, match=r"argument 0 of greet\['b'\], of type lock,"):
        launch(tmp_path, method, jobs.greet, {0: ({"a": lock, "b": LOCK},)})


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_an_open_file_is_no_copy_of_its_text(tmp_path: Path, method: str) -> None:
    with open(__file__) as file:
        words = "its variable lock, of type TextIOWrapper, cannot be pickled"
        with pytest.raises(NotPicklableError, match=words):
            launch(tmp_path, method, holds_a_lock(file), {0: ()})
    result = launch(tmp_path, method, open, {0: (__file__,)}).wait(PATIENCE)
    assert result is not None
    assert isinstance(result.failures[0].message, dict)
    assert "of type TextIOWrapper, cannot be pickled" in result.failures[0].message["message"]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_module_that_the_worker_cannot_import(tmp_path: Path, method: str) -> None:
    module: Any = type(sys)("only_here")
    exec("def work(): pass", module.__dict__)
    sys.modules["only_here"] = module
    try:
        gang = launch(tmp_path, method, module.work, {0: ()})
    finally:
        del sys.modules["only_here"]
    result = gang.wait(PATIENCE)
    gang.close()
    assert result is not None
    message = result.failures[0].message
    assert isinstance(message, dict)
    assert message["message"] == "ModuleNotFoundError: No module named 'only_here'"
    if sys.version_info >= (3, 11):
        assert "before the function was called" in message["extraInfo"]["py_callstack"]
