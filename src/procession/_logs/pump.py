"""The loop of the tail thread: from the files that have news to the sinks of their views.

A turn waits for news, reads one block of each file that has some, and gives each sink all of it in
one piece. A sink that does not take it at once is *blocked*: until it does, the files that go there
are not read, and everything else goes on. So lag costs no memory, and nothing is skipped for it.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from procession._log import Logger
from procession._logs.lookout import Lookout
from procession._logs.wakeups import Wakeups

if TYPE_CHECKING:
    from collections.abc import Hashable

    from procession._logs.follow import Followed
    from procession._logs.sinks import Sink
    from procession._logs.view import View

logger = Logger(__name__)

_BLOCK = 64 * 1024  # read of one file in one turn
_BATCH = 256 * 1024  # gathered in one sink before it is handed on
_IDLE_PART = 0.3  # seconds after which an unfinished line is shown on a terminal


class Pump:
    """One thread's worth of tailing: one inotify instance, any number of views.

    `run` is the thread. Others reach it through `wakeups`, and have it `admit`, `drain` or `abandon`
    a view, or `end`.
    """

    def __init__(self) -> None:
        self.writing: Sink | None = None  # the sink that has the thread right now
        self.ended = False
        self._sinks: dict[Hashable, Sink] = {}
        self._views: list[View] = []
        self._view_of: dict[Followed, View] = {}
        self._parts: dict[Followed, float] = {}  # unfinished lines, with when to show them
        self._buffer = bytearray(_BLOCK)
        self.wakeups = Wakeups()
        self.lookout = Lookout()
        if self.lookout.inotify:
            self.wakeups.when_readable(self.lookout.inotify, self.lookout.take_events)

    def run(self) -> None:
        """Turn until `end`."""
        try:
            with self.wakeups.at_work:
                while not self.ended:
                    self.turn()
        finally:
            self.shut()

    def shut(self) -> None:
        """End every view as it is and close everything: the thread's last act."""
        self.ended = True
        for view in tuple(self._views):
            self.abandon(view)
        self.lookout.close()
        self.wakeups.close()

    def forget(self) -> None:
        """In a forked child: close the descriptors that are the parent's work."""
        # And end no watch and no wait, which the parent shares (inotify(7), epoll_ctl(2)).
        self.lookout.forget()
        self.wakeups.close()

    # --- orders

    def admit(self, view: View) -> None:
        """Begin to show a view."""
        view.go_to(self._sinks.setdefault(view.sink.key, view.sink))
        self._views.append(view)
        now = time.monotonic()
        for file in view.files:
            self._view_of[file] = view
            self.lookout.add(file, view.interval, now)
        if view.sink.closed:
            self._retire_all(view.sink)

    def drain(self, view: View) -> None:
        """Show what the view's files hold now, and then end the view."""
        view.closing = True
        for file in tuple(view.files):
            if not file.is_open:
                self.lookout.reopen(file)  # it may have come a moment ago
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
        self.wakeups.wait(self._timeout(time.monotonic()))
        self.lookout.look(time.monotonic())
        files = self._read_round()
        self._show_idle_parts()
        for sink in tuple(self._sinks.values()):
            self._write(sink)
        if self.wakeups.dense:
            self.lookout.relieve(files, time.monotonic())
        self._dismiss_drained()

    def _timeout(self, now: float) -> float:
        if any(not file.sink.blocked for file in self.lookout.news):
            return 0.0
        due = min(self.lookout.due(), *self._parts.values(), now + 3600.0)
        return max(0.0, due - now)

    def _read_round(self) -> list[Followed]:
        """Read a block of each file that has news and a sink that takes it; return those files."""
        files = list(self.lookout.news)
        waiting = [file for file in files if file.sink.blocked]
        if waiting:  # the news of these will keep: no need of being told more
            self.lookout.relieve(waiting, time.monotonic())
        for file in files:
            if file.sink.size >= _BATCH:
                self._write(file.sink)
            if not file.sink.blocked and file in self.lookout.news:
                self._visit(file)
        return files

    def _visit(self, file: Followed) -> None:
        del self.lookout.news[file]
        try:
            count = file.read(self._buffer)
            if count:
                block = bytes(memoryview(self._buffer)[:count])
                file.sink.put(file.lines, file.lines.feed(block))
            if count == _BLOCK and not file.is_read_out:
                self.lookout.news[file] = None  # to the end of the queue
            else:
                self._come_to_end(file, count)
        except Exception:  # a filter is the caller's code, and other views share this thread
            logger.exception("error in log tailer for %s", file.path)
            self._retire(file)

    def _come_to_end(self, file: Followed, count: int) -> None:
        view = self._view_of[file]
        if not count and file.is_truncated():
            file.begin_again()
            self.lookout.news[file] = None
        elif (view.closing or not count) and file.is_replaced():
            self._go_on_with_successor(file)
        elif view.closing and count and not file.is_read_out:
            self.lookout.news[file] = None
        elif view.closing:
            file.sink.put(file.lines, file.lines.flush())
            self._retire(file)
        else:
            self._await_rest(file)

    def _go_on_with_successor(self, file: Followed) -> None:
        file.begin_again()
        self.lookout.reopen(file)
        if self._view_of[file].closing:
            self._read_out(file)

    def _read_out(self, file: Followed) -> None:
        """Read a file of a closing view to where it ends now, and then be done with it."""
        if file.is_open:
            file.end = file.size()
            self.lookout.news[file] = None
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
        with self.wakeups.aside if sink.waits_in_kernel else nullcontext():
            sink.blocked = not sink.write()
        self.writing = None
        if sink.blocked:
            self.wakeups.when_writable(sink.fileno(), partial(self._unblock, sink))
        if sink.closed:
            self._retire_all(sink)

    def _unblock(self, sink: Sink) -> None:
        self.wakeups.ignore(sink.fileno())
        sink.blocked = False
        self.lookout.schedule_hot(time.monotonic())

    def _retire_all(self, sink: Sink) -> None:
        for file in [file for file in self._view_of if file.sink is sink]:
            self._retire(file)

    # --- ends

    def _retire(self, file: Followed) -> None:
        """Be done with a file."""
        self.lookout.remove(file)
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
