"""The loop of the tail thread: from the files that have news to the sinks of their views.

A turn waits for news, reads one block of each file that has some, and gives each sink all of it in
one piece. A sink that does not take it at once is *blocked*: until it does, the files that go there
are not read, and everything else goes on. So lag costs no memory, and nothing is skipped for it.
"""

from __future__ import annotations

import logging
import os
import selectors
import threading
import time
from collections import deque
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from procession._logs.follow import Followed
from procession._logs.lookout import Lookout

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from procession._logs.sinks import Sink
    from procession._logs.view import View

logger = logging.getLogger(__name__)

_BLOCK = 64 * 1024  # read of one file in one turn
_BATCH = 256 * 1024  # gathered in one sink before it is handed on
_IDLE_PART = 0.3  # seconds after which an unfinished line is shown on a terminal
# Load is this many waits in a row that were shorter than this: over 4000 wakeups a second.
_DENSE_WAITS, _SHORT_WAIT = 64, 250e-6


class Pump:
    """One thread's worth of tailing: one inotify instance, any number of views.

    `run` is the thread. `order` hands it something to do and never blocks; `paused` keeps it still.
    """

    def __init__(self) -> None:
        self.writing: Sink | None = None  # the sink that has the thread right now
        self.ended = False
        self._sinks: dict[Hashable, Sink] = {}
        self._views: list[View] = []
        self._view_of: dict[Followed, View] = {}
        self._parts: dict[Followed, float] = {}  # unfinished lines, with when to show them
        self._buffer = bytearray(_BLOCK)
        self._orders: deque[Callable[[], None]] = deque()
        self._dense_waits = 0
        # Held by the thread but for its waits in the kernel.
        self._lock = threading.Lock()
        with ExitStack() as opened:
            self._open_descriptors(opened)
            self._opened = opened.pop_all()

    def _open_descriptors(self, opened: ExitStack) -> None:
        self._selector = selectors.DefaultSelector()
        opened.callback(self._selector.close)
        self._waking, self._waker = os.pipe()
        for fd in (self._waking, self._waker):
            opened.callback(os.close, fd)
            os.set_blocking(fd, False)
        self._lookout = Lookout()
        opened.callback(self._lookout.close)
        self._selector.register(self._waking, selectors.EVENT_READ)
        if self._lookout.inotify:
            self._selector.register(self._lookout.inotify, selectors.EVENT_READ)

    # --- for other threads

    def order(self, todo: Callable[[], None]) -> None:
        """Have the thread call ``todo`` before anything else. Never blocks."""
        self._orders.append(todo)
        if not self.ended:
            with suppress(BlockingIOError):  # it has been woken 65536 times already
                os.write(self._waker, b"!")

    @contextmanager
    def paused(self, patience: float) -> Iterator[bool]:
        """Keep the thread out of Python code; False if ``patience`` seconds do not suffice for it.

        They do not while a text stream that belongs to the caller blocks in its ``write``.
        """
        held = self._lock.acquire(timeout=patience)
        try:
            yield held
        finally:
            if held:
                self._lock.release()

    def run(self) -> None:
        """Turn until `end`."""
        try:
            with self._lock:
                while not self.ended:
                    self.turn()
        finally:
            self.shut()

    def shut(self) -> None:
        """End every view as it is and close everything: the thread's last act."""
        self.ended = True
        for view in tuple(self._views):
            self.abandon(view)
        self._opened.close()

    def forget(self) -> None:
        """In a forked child: close the descriptors that are the parent's work."""
        # By number: to empty the selector or to end a watch would act on what the parent shares.
        self._lookout.forget()
        self._selector.close()
        os.close(self._waking)
        os.close(self._waker)

    # --- orders

    def admit(self, view: View) -> None:
        """Begin to show a view."""
        view.go_to(self._sinks.setdefault(view.sink.key, view.sink))
        self._views.append(view)
        now = time.monotonic()
        for file in view.files:
            self._view_of[file] = view
            self._lookout.add(file, view.interval, now)
        if view.sink.closed:
            self._retire_all(view.sink)

    def drain(self, view: View) -> None:
        """Show what the view's files hold now, and then end the view."""
        view.closing = True
        for file in tuple(view.files):
            if not file.is_open:
                self._lookout.reopen(file)  # it may have come a moment ago
            self._read_out(file)

    def abandon(self, view: View) -> None:
        """End the view with nothing more shown."""
        for file in tuple(view.files):
            self._retire(file)
        if view in self._views:
            self._dismiss(view)

    def end(self) -> None:
        """End the thread; everything is closed."""
        self.ended = True

    # --- the turn

    def turn(self) -> None:
        """Wait for something to do and do it; the lock is held by the caller."""
        self._wait()
        while self._orders:
            self._orders.popleft()()
        self._lookout.look(time.monotonic())
        files = self._read_round()
        self._show_idle_parts()
        for sink in tuple(self._sinks.values()):
            self._write(sink)
        if self._dense_waits >= _DENSE_WAITS:
            self._lookout.relieve(files, time.monotonic())
        self._dismiss_drained()

    def _wait(self) -> None:
        began = time.monotonic()
        timeout = self._timeout(began)
        self._lock.release()
        try:
            events = self._selector.select(timeout)
        finally:
            self._lock.acquire()
        short = time.monotonic() - began < _SHORT_WAIT
        self._dense_waits = self._dense_waits + 1 if short else 0
        for key, _ in events:
            if key.fd == self._waking:
                os.read(self._waking, 65536)
            elif key.data is None:
                self._lookout.take_events()
            else:
                self._unblock(key.data)

    def _timeout(self, now: float) -> float:
        if any(not file.sink.blocked for file in self._lookout.news):
            return 0.0
        due = min(self._lookout.due(), *self._parts.values(), now + 3600.0)
        return max(0.0, due - now)

    def _read_round(self) -> list[Followed]:
        """Read a block of each file that has news and a sink that takes it; return those files."""
        files = list(self._lookout.news)
        waiting = [file for file in files if file.sink.blocked]
        if waiting:  # the news of these will keep: no need of being told more
            self._lookout.relieve(waiting, time.monotonic())
        for file in files:
            if file.sink.size >= _BATCH:
                self._write(file.sink)
            if not file.sink.blocked and file in self._lookout.news:
                self._visit(file)
        return files

    def _visit(self, file: Followed) -> None:
        del self._lookout.news[file]
        try:
            count = file.read(self._buffer)
            if count:
                block = bytes(memoryview(self._buffer)[:count])
                file.sink.put(file.lines, file.lines.feed(block))
            if count == _BLOCK and not file.is_read_out:
                self._lookout.news[file] = None  # to the end of the queue
            else:
                self._come_to_end(file, count)
        except Exception:  # a filter is the caller's code, and other views share this thread
            logger.exception("error in log tailer for %s", file.path)
            self._retire(file)

    def _come_to_end(self, file: Followed, count: int) -> None:
        view = self._view_of[file]
        if not count and file.is_truncated():
            file.begin_again()
            self._lookout.news[file] = None
        elif (view.closing or not count) and file.is_replaced():
            self._go_on_with_successor(file)
        elif view.closing and count and not file.is_read_out:
            self._lookout.news[file] = None
        elif view.closing:
            file.sink.put(file.lines, file.lines.flush())
            self._retire(file)
        else:
            self._await_rest(file)

    def _go_on_with_successor(self, file: Followed) -> None:
        file.begin_again()
        self._lookout.reopen(file)
        if self._view_of[file].closing:
            self._read_out(file)

    def _read_out(self, file: Followed) -> None:
        """Read a file of a closing view to where it ends now, and then be done with it."""
        if file.is_open:
            file.end = file.size()
            self._lookout.news[file] = None
        else:
            self._retire(file)

    def _await_rest(self, file: Followed) -> None:
        self._parts.pop(file, None)
        if file.sink.terminal and file.lines.held and not file.lines.selective:
            self._parts[file] = time.monotonic() + _IDLE_PART

    def _show_idle_parts(self) -> None:
        now = time.monotonic()
        for file in [file for file, due in self._parts.items() if due <= now]:
            del self._parts[file]
            file.sink.put(file.lines, file.lines.flush())

    # --- sinks

    def _write(self, sink: Sink) -> None:
        if not sink.size or sink.blocked:
            return
        self.writing = sink
        if sink.waits_in_kernel:
            self._lock.release()
        try:
            sink.blocked = not sink.write()
        finally:
            if sink.waits_in_kernel:
                self._lock.acquire()
            self.writing = None
        if sink.blocked:
            self._selector.register(sink.fileno(), selectors.EVENT_WRITE, sink)
        if sink.closed:
            self._retire_all(sink)

    def _unblock(self, sink: Sink) -> None:
        self._selector.unregister(sink.fileno())
        sink.blocked = False
        self._lookout.schedule_hot(time.monotonic())

    def _retire_all(self, sink: Sink) -> None:
        for file in [file for file in self._view_of if file.sink is sink]:
            self._retire(file)

    # --- ends

    def _retire(self, file: Followed) -> None:
        """Be done with a file."""
        self._lookout.remove(file)
        self._parts.pop(file, None)
        self._view_of.pop(file).files.remove(file)

    def _dismiss_drained(self) -> None:
        for view in [view for view in self._views if view.closing and not view.files]:
            if self._has_last_word(view):
                view.sink.finish()
                self._write(view.sink)
            if not view.sink.size:
                view.sink.end_wait()
                self._dismiss(view)

    def _has_last_word(self, view: View) -> bool:
        return not any(other.sink is view.sink for other in self._views if other is not view)

    def _dismiss(self, view: View) -> None:
        last = self._has_last_word(view)
        self._views.remove(view)
        if last:
            self._discard(view.sink)
        view.drained.set()

    def _discard(self, sink: Sink) -> None:
        if sink.blocked:
            self._unblock(sink)
        del self._sinks[sink.key]
        sink.close()
