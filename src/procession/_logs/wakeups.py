"""What the tail thread waits for, and how other threads reach it."""

from __future__ import annotations

import math
import os
import select
import threading
import time
from collections import deque
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _PutDown:
    """A held lock is free inside the ``with`` statement, which ends behind those who wait at the gate.

    A lock alone would come back to the thread that has just released it, as long as there is no pause:
    who waits for one has first to wake up (no lock of Python's or futex(2) is handed over).
    """

    def __init__(self, lock: threading.Lock, gate: threading.Lock) -> None:
        self._lock = lock
        self._gate = gate

    def __enter__(self) -> None:
        self._lock.release()

    def __exit__(self, *_: object) -> None:
        with self._gate:
            self._lock.acquire()


class Wakeups:
    """Descriptors, orders of other threads, and their right to find the thread at rest.

    The thread holds `at_work` whenever it runs Python code, and puts it down in the kernel (`aside`).
    """

    def __init__(self) -> None:
        self.at_work = threading.Lock()
        self._gate = threading.Lock()
        self.aside = _PutDown(self.at_work, self._gate)
        self._pausing: set[int] = set()  # threads that pause it, or wait for that
        self._orders: deque[Callable[[], None]] = deque()
        self._closed = False
        # Held while the pipe is written to or closed. The order of a signal's handler may come amidst one
        # of the thread that it interrupts.
        self._door = threading.RLock()
        with ExitStack() as opened:
            self._waking, self._waker = os.pipe()
            for fd in (self._waking, self._waker):
                opened.callback(os.close, fd)
                os.set_blocking(fd, False)
            self._opened = opened.pop_all()
        self._poll = select.poll()
        self._todos: dict[int, Callable[[], None]] = {}  # by descriptor
        self.when_readable(self._waking, self._wake_up)

    def order(self, todo: Callable[[], None]) -> None:
        """Have the thread call ``todo`` before anything else. Never blocks."""
        self._orders.append(todo)
        with self._door:  # the order may be the last, and the pipe's number another file's by now
            if not self._closed:
                with suppress(BlockingIOError):  # it has been woken 65536 times already
                    os.write(self._waker, b"!")

    @contextmanager
    def paused(self, patience: float) -> Iterator[bool]:
        """Keep the thread out of Python code; False if it took more than ``patience`` seconds.

        It does while a text stream that belongs to the caller blocks in its ``write``. False at once in the
        handler of a signal that came amidst a pause of its own thread.
        """
        me = threading.get_ident()
        if me in self._pausing:
            yield False
            return
        self._pausing.add(me)
        held = False
        try:
            held = self._interrupt(patience)
            yield held
        finally:
            self._pausing.discard(me)
            if held:
                self.at_work.release()

    def wait(self, timeout: float) -> None:
        """Wait for a descriptor or an order, and do what there is to do for them."""
        with self.aside:
            # Rounded up: a wait that ends a fraction of a millisecond early would spin.
            ready = self._poll.poll(math.ceil(timeout * 1000))
        for fd, _ in ready:
            self._todos[fd]()
        while self._orders:
            self._orders.popleft()()

    def when_readable(self, fd: int, todo: Callable[[], None]) -> None:
        """Call ``todo`` whenever a descriptor has something to read."""
        self._register(fd, select.POLLIN, todo)

    def when_writable(self, fd: int, todo: Callable[[], None]) -> None:
        """Call ``todo`` whenever a descriptor takes bytes, until it is told to `ignore` it."""
        self._register(fd, select.POLLOUT, todo)

    def ignore(self, fd: int) -> None:
        """Wait for a descriptor no more."""
        self._poll.unregister(fd)
        del self._todos[fd]

    def close(self) -> None:
        """Close the descriptors; orders are no longer taken."""
        with self._door:
            self._closed = True
            self._opened.close()

    def forget(self) -> None:
        """Close the descriptors in a forked child, where nobody is left to open the door."""
        self._door = threading.RLock()
        self.close()

    def _interrupt(self, patience: float) -> bool:
        due = time.monotonic() + patience
        if not self._gate.acquire(timeout=patience):
            return False
        try:
            return self.at_work.acquire(timeout=max(0.0, due - time.monotonic()))
        finally:
            self._gate.release()

    def _register(self, fd: int, event: int, todo: Callable[[], None]) -> None:
        self._poll.register(fd, event)
        self._todos[fd] = todo

    def _wake_up(self) -> None:
        os.read(self._waking, 65536)
