"""Functions that workers run; an importable module, as a spawned worker needs."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
from typing import Any


def greet(name: str) -> tuple[str, str, bool]:
    print("hello", name)
    print("careful", name, file=sys.stderr)
    return name, os.environ["LOCAL_RANK"], os.getsid(0) == os.getpid()


def big(size: int) -> bytes:
    return b"x" * size


def write_shared(memory: Any) -> bytes:
    memory.buf[0] = 42
    return bytes(memory.buf[:1])


def fail(rank: int) -> None:
    if rank == 1:
        raise ValueError("boom")
    time.sleep(1000)


def returns_a_lock() -> Any:
    return threading.Lock()


def nested(method: str) -> tuple[list[int], ...]:
    """What each kind of helpers brings inside a worker."""
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

    context: Any = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=put_square, args=(queue, 3))
    process.start()
    squares = [queue.get(timeout=30)]
    process.join()
    with (
        context.Pool(1) as pool,
        ProcessPoolExecutor(1, mp_context=context) as processes,
        ThreadPoolExecutor(2) as threads,
    ):
        return (
            squares,
            pool.map(abs, [-1, -2]),
            list(processes.map(abs, [-1, -2])),
            list(threads.map(abs, [-1, -2])),
        )


def put_square(queue: Any, number: int) -> None:
    queue.put(number * number)


def dispositions() -> tuple[Any, ...]:
    watched = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD, signal.SIGUSR1)
    sigint_ok = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return [signal.getsignal(s) for s in watched] == [signal.SIG_DFL] * 5, sigint_ok, blocked


def whole_environment() -> dict[str, str]:
    return dict(os.environ)


def returned(value: Any) -> Any:
    return value


def array(size: int) -> Any:
    import numpy

    return {"data": numpy.arange(size, dtype="f8"), "last": size - 1}


def doubled(data: Any) -> Any:
    data *= 2
    return data, bool(data.flags.aligned)


def leaves_a_child_that_holds_everything() -> int:
    """A daemon has copies of all the worker's fds and never ends by itself."""
    if os.fork() == 0:
        os.setsid()
        signal.pause()
    return os.getpid()


def is_returned_from_by_a_child_too() -> str:
    child = os.fork()
    if child == 0:
        return "the child's"
    os.waitpid(child, 0)
    return "the worker's"


def is_left_by_an_exception_in_a_child_too() -> int:
    child = os.fork()
    if child == 0:
        raise ValueError("of the child")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def goes_on_in_a_thread(fifo: str) -> str:
    def go_on() -> None:
        with open(fifo) as file:
            file.read()
        print("the thread has ended")

    threading.Thread(target=go_on).start()
    return "returned"


def closes_all() -> str:
    os.closerange(3, 1024)
    return "lost"


def opens_a_file_where_ours_was(path: str) -> str:
    os.closerange(3, 1024)
    for _ in range(20):
        os.open(path, os.O_WRONLY | os.O_CREAT)
    return "lost"


class OnlyHere:
    """Cannot be rebuilt."""

    def __reduce__(self) -> Any:
        return getattr, (os, "not_there")


def returns_what_cannot_be_rebuilt(rank: int) -> Any:
    return OnlyHere() if rank == 1 else rank


def deep() -> Any:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


class Adder:
    offset = 1

    def __init__(self, start: Any) -> None:
        self.start = start

    def __call__(self, number: int) -> int:
        return int(self.start + number)

    def add(self, number: int) -> int:
        return int(self.start + number)

    @classmethod
    def add_to_class(cls, number: int) -> int:
        return cls.offset + number

    @staticmethod
    def add_one(number: int) -> int:
        return 1 + number


def add(one: int, other: int) -> int:
    return one + other


def add_one(number: int) -> int:
    return 1 + number


@functools.lru_cache
def cached_add_one(number: int) -> int:
    return 1 + number
