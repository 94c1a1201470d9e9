"""Following a run that another process launches: through its restarts, until it ends."""

from __future__ import annotations

import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from procession._logs import tail
from procession._logs.history import show
from procession._logs.live import LiveView
from procession._logs.sinks import open_sink
from procession._os.inotify import IN_CREATE, IN_MOVED_TO, Inotify
from procession.cli.logs.command import (
    announce,
    attempts,
    header,
    keeper,
    open_part,
    say_untold,
    sources,
    wish,
)
from procession.cli.say import say

if TYPE_CHECKING:
    from procession.cli.logs.command import Source
    from procession.cli.logs.flags import Asked
    from procession.cli.runs import Run

_NET = 1.0  # seconds: a launcher that was killed tells nobody, and other hosts' files neither


def follow(run: Run, asked: Asked) -> bool:
    """Show what a run has written and what it writes, until it ends or nobody listens.

    Args:
        run: The run.
        asked: Which part of it, and in which form.

    Returns:
        False where standard output did not take all of it, as on a full disk.

    Raises:
        UsageError: It has been removed.
    """
    if not run.is_ours:
        say(f"{run.path} has no report.json: when it ends cannot be told; Ctrl-C ends this")
    follower = _Follower(run, asked)
    watch = _Watch(run.path)
    try:
        while follower.look():
            watch.wait()
    finally:
        watch.close()
    return follower.end()


class _Follower:
    """Shows one attempt at a time."""

    def __init__(self, run: Run, asked: Asked) -> None:
        self._run = run
        self._asked = asked
        self._attempt = -1
        self._views: list[LiveView] = []
        self._seen: set[str] = set()
        self._is_first = True
        self._failure: OSError | None = None

    def look(self) -> bool:
        """Show what is new; False once the run has ended and all is shown, or nobody listens."""
        over = self._run.is_over()  # asked first: what it wrote before is there by now
        for attempt in attempts(self._run, self._asked):
            if attempt > self._attempt:
                self._finish()
                self._attempt = attempt
                announce(self._run, attempt)
            if attempt == self._attempt:
                self._show(sources(self._run, attempt, self._asked))
        self._is_first = False
        if over or not self._run.is_there:
            self._finish()
        self._run.check_it_is_there()
        return not over and not any(sink.closed for view in self._views for sink in view.sinks)

    def _show(self, files: list[Source]) -> None:
        fresh = [source for source in files if source.path not in self._seen]
        if not fresh:
            return
        self._seen.update(source.path for source in fresh)
        begins = self._show_history(fresh) if self._is_first else {}
        view = LiveView(
            [(source.path, source.prefix, begins.get(source.path, 0)) for source in fresh],
            sys.stdout,
            keeper(self._asked),
            header(self._asked, fresh),
        )
        tail.show(view)
        self._views.append(view)

    def _show_history(self, files: list[Source]) -> dict[str, int]:
        """Show what is there, and return for each file where that ends."""
        what = wish(self._asked, files, whole=True)
        parts = [part for source in files if (part := open_part(source, what))]
        begins = {part.path: part.end for part in parts}
        if self._asked.wants_times and not all(part.is_told for part in parts):
            say_untold(self._run)
        sink = open_sink(sys.stdout)
        show(parts, what, sink)
        self._failure = sink.failure
        return begins

    def end(self) -> bool:
        """Show the rest; False where standard output did not take all."""
        self._finish()
        return self._failure is None

    def _finish(self) -> None:
        """Show the rest of the attempt; whoever reads, in a pager say, may take his time: nobody waits for us."""
        for view in self._views:
            tail.see_out(view)
            self._failure = self._failure or view.failure
        self._views.clear()


class _Watch:
    """Waits for something new in a directory, a second at most."""

    def __init__(self, directory: str) -> None:
        self._poll = select.poll()
        self._inotify: Inotify | None = None
        with suppress(OSError):  # without, it is looked at once a second
            self._inotify = Inotify()
            self._inotify.watch(directory, IN_CREATE | IN_MOVED_TO)
            self._poll.register(self._inotify.fileno(), select.POLLIN)

    def wait(self) -> None:
        """Return when something has come, or a second later."""
        if self._poll.poll(_NET * 1000) and self._inotify is not None:
            self._inotify.read()

    def close(self) -> None:
        """Close it."""
        if self._inotify is not None:
            self._inotify.close()
