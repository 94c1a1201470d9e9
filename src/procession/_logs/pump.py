"""The loop of the tail thread: from the files that have news to the sinks of their views.

A turn waits for news, reads one block of each file that has some, and gives each sink all of it in
one piece. A sink that does not take it at once is *blocked*: until it does, the files that go there
are not read, and everything else goes on. So lag costs no memory, and nothing is skipped for it.
"""

from __future__ import annotations

import math
import threading
import time
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from procession._log import Logger
from procession._logs.lookout import Lookout, forget
from procession._logs.pace import Pace
from procession._logs.wakeups import Wakeups
from procession._os.processors import all_taken

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    from procession._logs.follow import Floor, Followed, Output
    from procession._logs.sinks import Sink
    from procession._logs.view import View

logger = Logger(__name__)

_BATCH = 256 * 1024  # gathered in one sink before it is handed on
_IDLE_PART = 0.3  # seconds after which an unfinished line is shown on a terminal
_CALM = 0.02  # seconds without news
_FEW = 32  # files
_FRAME = 0.1  # seconds between two states of the lines that are drawn again and again


class Pump:
    """One thread's worth of tailing: one inotify instance, any number of views.

    `run` is the thread. Others reach it through `wakeups`, and have it `admit`, `drain` or `abandon`
    a view, or `end`.
    """

    def __init__(self) -> None:
        self.writing: Sink | None = None  # the sink that has the thread right now
        self._at_sink = threading.Lock()  # held meanwhile
        self.ended = False
        self._sinks: dict[Hashable, Sink] = {}
        self._views: list[View] = []
        self._view_of: dict[Followed, View] = {}
        self._parts: dict[Output, float] = {}  # with unfinished lines, and when to show them
        self._behind: dict[Sink, dict[Followed, None]] = {}  # files that wait for a blocked sink
        self._floors: dict[str, Floor] = {}  # of the files whose beginnings may be released
        self._unsettled: dict[Followed, None] = {}  # with more to be done in a calm moment
        self._calm_due = math.inf  # when that has come, if nothing happens until then
        self._pace = Pace()
        self.wakeups = Wakeups()
        self.lookout = Lookout()
        if self.lookout.inotify:
            inotify = self.lookout.inotify.fileno()
            self.wakeups.when_readable(inotify, self.lookout.take_events)

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
            self.abandon(view, view.sinks)
        self.lookout.close()
        self.wakeups.close()

    def forget(self) -> None:
        """In a forked child: close the descriptors that are the parent's work."""
        # And end no watch, which the parent shares (inotify(7)).
        self.lookout.forget()
        self.wakeups.forget()

    @contextmanager
    def off_sinks(self, patience: float) -> Iterator[bool]:
        """Keep the thread paused, and not in a sink; False if it took more than ``patience`` seconds."""
        due = time.monotonic() + patience
        with ExitStack() as held:
            off = held.enter_context(self.wakeups.paused(patience))
            if off and (off := self._at_sink.acquire(timeout=max(0.0, due - time.monotonic()))):
                held.callback(self._at_sink.release)
            yield off

    # --- orders

    def admit(self, view: View) -> None:
        """Begin to show a view."""
        view.share_sinks(self._sinks)
        self._views.append(view)
        self._view_of.update(dict.fromkeys(view.files, view))  # all, whatever comes of one of them
        now = time.monotonic()
        for file in view.files:
            file.join(self._floors)
            self.lookout.add(file, view.interval, now)
        for sink in view.sinks:
            if sink.closed:
                self._leave(sink, [view])

    def drain(self, view: View) -> None:
        """Show what the view's files hold now, and then end the view."""
        view.closing = True
        done = [file for file in view.files if self._is_done(file)]  # nearly all of a thousand
        self._retire(done)
        for file in tuple(view.files):
            if file.is_open and file.is_shown():
                self._drop(file, file.outputs)
            else:
                self._read_out(file)

    def _is_done(self, file: Followed) -> bool:
        """Whether all of a file is shown, whole lines, and nothing of it is left to be done."""
        if not file.is_open:
            self.lookout.reopen(file)  # it may have come a moment ago
            return False
        return file.is_simple and not file.outputs[0].lines.held and file.is_shown()

    def abandon(self, view: View, sinks: Iterable[Sink]) -> None:
        """Show nothing more of the view in these sinks."""
        for sink in tuple(sinks):
            self._leave(sink, [view])
            self._part(view, sink)
        if view in self._views and not view.sinks:
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
        now = time.monotonic()
        if self._pace.is_load(len(files), now) or self.lookout.is_hot:
            self.lookout.relieve(files, now)
        self._settle(files, now)
        self._dismiss_drained()

    def _timeout(self, now: float) -> float:
        self._rest_or_not(now)
        if any(not file.waits for file in self.lookout.news):
            return 0.0
        folded = [view.fold.due() for view in self._views if view.fold]
        calm = self._calm_due if self._unsettled and not self.lookout.is_hot else math.inf
        due = min(self.lookout.due(), calm, *self._parts.values(), *folded, now + 3600.0)
        return max(0.0, due - now)

    def _rest_or_not(self, now: float) -> None:
        """Leave files alone for a while that grow faster than they are worth being read."""
        if not self.lookout.news:
            if not self.lookout.rests(now):
                self._pace.begin_stint(time.thread_time(), now)
            return
        # Of a view that is to end somebody waits for the rest, and there is an end to it.
        files = [file for file in self.lookout.news if file.end is None]
        if rest := self._pace.rest(files, time.thread_time(), now, all_taken):
            self.lookout.put_off(files, now, now + rest)

    def _read_round(self) -> list[Followed]:
        """Read a block of each file that has news and a sink that takes it; return those files."""
        files = list(self.lookout.news)
        sinks = tuple(self._sinks.values())
        if any(sink.blocked for sink in sinks):
            # The news of files that wait will keep: no need of being told more.
            self.lookout.relieve([file for file in files if file.waits], time.monotonic())
        for file in files:
            for sink in sinks:
                if sink.size >= _BATCH:
                    self._write(sink)
            if file in self.lookout.news and not file.waits:
                self._visit(file)
        return files

    def _settle(self, files: Sequence[Followed], now: float) -> None:
        """Let files that were read do what has time, a few in a turn, once nothing is in a hurry."""
        if files:
            self._unsettled.update(dict.fromkeys(files))
        if files or self.lookout.is_hot:
            self._calm_due = now + _CALM
        elif now >= self._calm_due:
            for file in tuple(self._unsettled)[:_FEW]:
                del self._unsettled[file]
                file.settle(calm=True)

    def _visit(self, file: Followed) -> None:
        del self.lookout.news[file]
        count, full = file.advance()
        self._pace.shown += count
        if count and not full and file.is_simple:
            return
        if any(output.over for output in file.outputs):
            self._drop(file, [output for output in file.outputs if output.over])
            self.lookout.news |= {file: None} if file.outputs else {}
        elif full and not file.read_out():
            self.lookout.news[file] = None  # to the end of the queue
        else:
            self._come_to_end(file, count)

    def _come_to_end(self, file: Followed, count: int) -> None:
        closing = self._view_of[file].closing
        behind = [output for output in file.outputs if output.sink.blocked]
        for output in behind:
            self._behind.setdefault(output.sink, {})[file] = None
        if not count and file.begin_again_where_truncated():
            self.lookout.news[file] = None
        elif (closing or not count) and not behind and file.is_replaced():
            self._go_on_with_successor(file)
        elif closing and count and not file.read_out():
            self.lookout.news[file] = None
        elif closing:
            self._drop(file, [output for output in file.outputs if output not in behind])
        else:
            self._await_rest(file)

    def _go_on_with_successor(self, file: Followed) -> None:
        file.begin_successor()
        self.lookout.reopen(file)
        if self._view_of[file].closing:
            self._read_out(file)

    def _read_out(self, file: Followed) -> None:
        """Read a file of a closing view to where it ends now, and then be done with it."""
        if file.is_open:
            file.end = file.size()
            self.lookout.news[file] = None
        else:
            self._drop(file, file.outputs)

    def _await_rest(self, file: Followed) -> None:
        for output in file.outputs:
            self._parts.pop(output, None)
            if output.sink.terminal and output.lines.held and not output.lines.selective:
                self._parts[output] = _when_to_show(output, time.monotonic())

    def _show_idle_parts(self) -> None:
        now = time.monotonic()
        for view in self._views:
            view.show_folded(now)
        for output in [output for output, due in self._parts.items() if due <= now]:
            del self._parts[output]
            if not output.lines.is_bar:
                for view in self._views:
                    view.show_folded(math.inf)  # a part stands where its writer is
            output.show_part()

    # --- sinks

    def _write(self, sink: Sink) -> None:
        if not sink.size or sink.blocked:
            return
        self.writing = sink
        with self.wakeups.aside if sink.waits_in_kernel else nullcontext(), self._at_sink:
            sink.blocked = not sink.write()
        self.writing = None
        if sink.blocked:
            self.wakeups.when_writable(sink.fileno(), partial(self._unblock, sink))
        if sink.closed:
            self._leave(sink, self._views)

    def _unblock(self, sink: Sink) -> None:
        self.wakeups.ignore(sink.fileno())
        sink.blocked = False
        self.lookout.news |= self._behind.pop(sink, {})
        self.lookout.schedule_hot(time.monotonic())

    def _leave(self, sink: Sink, views: Iterable[View]) -> None:
        """Show nothing more of these views in a sink."""
        for view in views:
            for file in tuple(view.files):
                gone = [output for output in file.outputs if output.sink is sink]
                for output in gone:
                    output.over = True
                self._drop(file, gone)

    # --- ends

    def _drop(self, file: Followed, outputs: Sequence[Output]) -> None:
        """Be done with some outputs of a file, and with the file if it has no others."""
        self._view_of[file].show_folded(math.inf)
        for output in tuple(outputs):
            if not output.over:
                output.show_rest()
            output.sink.drop_bar(output.lines)
            self._parts.pop(output, None)
            file.outputs.remove(output)
        if not file.outputs:
            self._retire([file])

    def _retire(self, files: Sequence[Followed]) -> None:
        self.lookout.remove(files)
        forget(files, self._unsettled, *self._behind.values())
        for file in files:
            file.leave(self._floors)
            self._view_of.pop(file).files.remove(file)

    def _dismiss_drained(self) -> None:
        for view in [view for view in self._views if view.closing and not view.files]:
            for sink in view.sinks:
                if not any(sink in other.sinks for other in self._views if other is not view):
                    sink.finish()
                    self._write(sink)
            if not any(sink.size for sink in view.sinks):
                for sink in view.sinks:
                    sink.end_wait()
                self._dismiss(view)

    def _dismiss(self, view: View) -> None:
        for sink in tuple(view.sinks):
            self._part(view, sink)
        self._views.remove(view)
        view.drained.set()

    def _part(self, view: View, sink: Sink) -> None:
        view.sinks.remove(sink)
        view.failure = view.failure or sink.failure
        if not any(sink in other.sinks for other in self._views):
            self._discard(sink)

    def _discard(self, sink: Sink) -> None:
        if sink.blocked:
            self._unblock(sink)
        del self._sinks[sink.key]
        sink.close()


def _when_to_show(output: Output, now: float) -> float:
    """A bar with the others, so that they are drawn together; another part once its writer pauses."""
    return math.ceil(now / _FRAME) * _FRAME if output.lines.is_bar else now + _IDLE_PART
