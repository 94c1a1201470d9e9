"""Functions that workers run; an importable module, as a spawned worker needs."""

from __future__ import annotations

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


def use_shared_things(
    rank: int, queue: Any, simple: Any, event: Any, lock: Any, value: Any, array: Any, pipe: Any
) -> None:
    event.wait(20)
    with lock:
        value.value += 1
        array[rank] = rank + 1
    queue.put(rank)
    simple.put(rank)
    pipe.send(rank)


def write_shared(memory: Any) -> bytes:
    memory.buf[0] = 42
    return bytes(memory.buf[:1])


def fail(rank: int) -> None:
    if rank == 1:
        raise ValueError("boom")
    time.sleep(1000)


def end_by(how: str) -> None:
    if how == "exit 0":
        sys.exit(0)
    if how == "exit 3":
        sys.exit(3)
    if how == "exit text":
        sys.exit("good bye")
    if how == "_exit 0":
        os._exit(0)
    if how == "_exit 4":
        os._exit(4)
    if how == "interrupt":
        raise KeyboardInterrupt
    os.kill(os.getpid(), getattr(signal, how))


def returns_a_lock() -> Any:
    return threading.Lock()


def nested(method: str) -> list[int]:
    with multiprocessing.get_context(method).Pool(1) as pool:
        return pool.map(abs, [-1, -2])


def dispositions() -> tuple[Any, ...]:
    watched = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD, signal.SIGUSR1)
    sigint_ok = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return [signal.getsignal(s) for s in watched] == [signal.SIG_DFL] * 5, sigint_ok, blocked


def whole_environment() -> dict[str, str]:
    return dict(os.environ)
