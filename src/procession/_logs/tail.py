"""The tail of a process: one thread and one inotify instance, however many files are shown.

`_service` is the only state in this package that belongs to the process rather than to an object
somebody holds: the running pump, and the views it has. It is empty while nothing is tailed, and
empty again in a forked child, where neither the thread nor the right to its descriptors exists.
"""

from __future__ import annotations

import errno
import os
import select
import threading
import time
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from procession._log import Logger
from procession._logs.pump import Pump

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from procession._logs.sinks import Sink
    from procession._logs.view import View

logger = Logger(__name__)

# A view that is being ended waits so long for a sink that takes no byte.
SINK_PATIENCE = 5.0
# So long others wait for the thread while the write of a caller's text stream has it.
_THREAD_PATIENCE = 1.0
# A wait that ends so much later than it should was one of a process that had been stopped, or starved.
_LATE = 1.0
# So often whoever waits for a view's end asks whether there is hurry.
_GLANCE = 0.1
# So long a message waits for a place of its own on the terminal, at least and at most.
_CLEARING_PATIENCE = (0.1, 1.0)


class TailService:
    """Starts the tail thread with the first view and ends it with the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._views: set[View] = set()
        self._pump: Pump | None = None
        self._thread: threading.Thread | None = None
        self._leaving: threading.Thread | None = None

    def show(self, view: View) -> None:
        """Begin to show a view. Never waits for a sink."""
        with self._lock:
            if self._pump is None or self._pump.ended:
                self._pump, self._thread = _start_pump()
            self._views.add(view)
            self._pump.wakeups.order(partial(self._pump.admit, view))

    def finish(self, view: View, hurried: Callable[[], bool] = lambda: False) -> dict[str, int]:
        """Show all that a view's files hold now, end it, and return what had to be skipped.

        Nothing is skipped but where the sink has taken no byte for `SINK_PATIENCE` seconds, or a console is
        slow and there is hurry.

        Args:
            view: The view.
            hurried: Asked now and then; True has a console's rest skipped.

        Returns:
            Path and number of bytes not shown, for the files where there are any.
        """
        pump = self._pump
        if pump is None or view not in self._views:  # finished already, or shown by a forked parent
            return {}
        self.bring_to_end(view)
        skipped: dict[str, int] = {}
        while not _drained(view, pump, hurried):
            if not _give_up(view, pump, skipped, hurried):
                break
        self._release(view, pump)
        return skipped

    def see_out(self, view: View) -> None:
        """Show all that a view's files hold now, however long its sinks take, and end it."""
        pump = self._pump
        if pump is None or view not in self._views:
            return
        self.bring_to_end(view)
        while not (pump.ended or view.drained.wait(SINK_PATIENCE)):
            continue
        self._release(view, pump)

    def bring_to_end(self, view: View) -> None:
        """Begin to `finish` a view, and do not wait; a second call does nothing."""
        pump = self._pump
        if pump is not None and view in self._views and not view.ending:
            view.ending = True
            pump.wakeups.order(partial(pump.drain, view))

    @contextmanager
    def still(self) -> Iterator[None]:
        """Keep the tail from changing anything: no lock of its, or of a text stream, is held."""
        with self._lock:
            if self._pump is None:
                yield
                return
            with self._pump.wakeups.paused(_THREAD_PATIENCE):
                yield

    @contextmanager
    def console_cleared(self, patience: float) -> Iterator[None]:
        """Keep the bottom of a terminal free for a message of the caller's, who has so many seconds."""
        least, most = _CLEARING_PATIENCE
        pump = self._pump
        if pump is None:
            yield
            return
        own = threading.current_thread() is self._thread
        with nullcontext(True) if own else pump.off_sinks(max(least, min(patience, most))) as off:
            if off:
                for sink in {sink for view in tuple(self._views) for sink in view.sinks}:
                    sink.clear()
            yield
        pump.wakeups.order(_nothing)  # what has been cleared comes back in its next turn

    def see_off(self) -> None:
        """Wait for the end of a thread that has nothing more to show.

        All that it still has to do is to close an inotify instance, which takes the kernel 3 to 20 ms (a
        grace period of SRCU, fsnotify_wait_marks_destroyed in fs/notify/mark.c): whoever has other work
        does that first. A process that forks had better have no thread, and Python warns of it.
        """
        thread, self._leaving = self._leaving, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(_THREAD_PATIENCE)

    def begin_empty(self) -> None:
        """In a forked child: drop the parent's tail."""
        if self._pump is not None:
            self._pump.forget()
        for sink in {sink for view in self._views for sink in view.sinks}:
            sink.close()
        self._lock = threading.Lock()
        self._views = set()
        self._pump = self._thread = self._leaving = None

    def _release(self, view: View, pump: Pump) -> None:
        with self._lock:
            self._views.discard(view)
            if self._views or self._pump is not pump:
                return
            self._leaving = self._thread if view.drained.is_set() else None
            self._pump = self._thread = None
            pump.wakeups.order(pump.end)


def _start_pump() -> tuple[Pump, threading.Thread]:
    pump = Pump()
    # A daemon: a console that is blocked for ever must not keep the interpreter from its end.
    thread = threading.Thread(target=pump.run, name="procession-tail", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # what Python makes of EAGAIN
        pump.shut()
        raise OSError(errno.EAGAIN, f"the thread that shows logs: {error}") from error
    return pump, thread


def _drained(view: View, pump: Pump, hurried: Callable[[], bool]) -> bool:
    """Wait until a view has been shown; False if a sink keeps it from that, or there is hurry."""
    while (left := SINK_PATIENCE - _stalled_for(view, pump)) > 0 and not pump.ended:
        if _consoles(view) and hurried():
            break
        left = min(left, _GLANCE)
        due = time.monotonic() + left
        if view.drained.wait(left):
            break
        if time.monotonic() > due + _LATE:  # nobody has offered the sinks anything in this time
            for sink in list(view.sinks):
                sink.end_wait()
    return view.drained.is_set() or pump.ended


def _stalled_for(view: View, pump: Pump) -> float:
    # Another view's text stream may have the thread, and so keep this view waiting too.
    sinks = [pump.writing] if pump.writing else view.sinks
    now = time.monotonic()
    return max([sink.stalled_for(now) for sink in sinks], default=0.0)


def _give_up(view: View, pump: Pump, skipped: dict[str, int], hurried: Callable[[], bool]) -> bool:
    """Have a view go on without its blocked sinks, or its console; False if one of them has the thread."""
    done = threading.Event()
    with pump.wakeups.paused(_THREAD_PATIENCE):
        hasty = _consoles(view) if hurried() else []
        sinks = hasty or [sink for sink in view.sinks if sink.blocked] or list(view.sinks)
        counts = view.skipped(sinks)
        pump.wakeups.order(partial(pump.abandon, view, sinks))
        pump.wakeups.order(done.set)
    skipped |= counts
    heard = _is_heard(done, pump)
    if _takes_bytes(2):  # where warnings go as a rule; it may be the very console that is blocked
        why = "a signal came" if hasty else f"no byte was taken for {SINK_PATIENCE:g} s"
        for path, count in counts.items():
            logger.warning("%d bytes of %s were not shown: %s", count, path, why)
    return heard


def _is_heard(done: threading.Event, pump: Pump) -> bool:
    """Wait until the thread has done as it was told; False if a sink has it, which may be for ever."""
    while not done.wait(_THREAD_PATIENCE):
        if pump.writing is not None or pump.ended:
            return False
    return True


def _consoles(view: View) -> list[Sink]:
    return [sink for sink in view.sinks if sink.console]


def _takes_bytes(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))


def _nothing() -> None:
    pass


_service = TailService()
show = _service.show
bring_to_end = _service.bring_to_end
finish = _service.finish
see_out = _service.see_out
see_off = _service.see_off
console_cleared = _service.console_cleared


@contextmanager
def fork_guard() -> Iterator[None]:
    """Hold the tail's locks across an ``os.fork()`` of the caller.

    So that the child inherits no text stream whose lock the tail thread holds, and no half-opened
    file. In the child the tail is empty, and usable. Waits a second at most.
    """
    with _service.still():
        yield


os.register_at_fork(before=_service.see_off, after_in_child=_service.begin_empty)
