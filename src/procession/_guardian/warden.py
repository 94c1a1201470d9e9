"""The guardian's loop: start, watch, report, reap; and end everything when the launcher is gone."""

from __future__ import annotations

import os
import select
import time

from procession._guardian.starters import Order, close_all
from procession._guardian.sweep import describe, sweep, wake_and_send
from procession._os.deaths import DeathWatch, Ending, peek_any, reap
from procession._os.kernel import open_pidfd
from procession._os.lean import SIGCHLD, wake_on
from procession._os.proc import children, descendants, living

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from procession._guardian.channel import Channel
    from procession._guardian.protocol import Message
    from procession._guardian.starters import Starter
    from procession._guardian.sweep import Left


_GONE: Left = (0, "", 0, "")  # in place of an orphan that ended with a status of its own
_GLANCE = 1.0  # seconds between looks at the parent's pid, where there are no pidfds


class Warden:
    """Guards one gang on behalf of the launcher at the other end of ``channel``."""

    def __init__(self, channel: Channel, starter: Starter, launcher: int) -> None:
        """Store what to serve.

        Args:
            channel: To the launcher.
            starter: Starts workers.
            launcher: Its pid. The socket alone does not tell of its end: whatever the launcher has
                forked since holds a copy of its end of it.
        """
        self._channel = channel
        self._launcher = launcher
        self._launcher_end = open_pidfd(launcher)
        self._starter = starter
        self._watch = DeathWatch()
        self._wakeup = wake_on(SIGCHLD)
        self._leaders: dict[int, int] = {}  # pid -> rank of the workers that live
        self._corpses: set[int] = set()  # reported deaths that the launcher has not acknowledged
        self._hush: int | None = None  # the signal that orphans get, once the gang is being stopped
        self._hushed: dict[int, Left] = {}

    def run(self) -> None:
        """Serve until the launcher closes its end or dies, then leave nothing behind."""
        try:
            while not self._channel.closed and os.getppid() == self._launcher:
                self._wait(None if self._launcher_end is not None else _GLANCE)
                self._serve()
        finally:
            sweep(os.getpid(), self._settle)

    def _private(self) -> list[int]:
        own = [self._channel.fileno(), *self._wakeup, *self._watch.fds()]
        return own if self._launcher_end is None else [*own, self._launcher_end]

    def _wait(self, seconds: float | None) -> None:
        poller = select.poll()
        poller.register(self._channel, select.POLLIN | (select.POLLOUT * self._channel.clogged))
        for fd in (self._watch.fileno(), self._wakeup[0], self._launcher_end):
            if fd is not None and fd >= 0:
                poller.register(fd, select.POLLIN)
        poller.poll(None if seconds is None else seconds * 1000)

    def _serve(self) -> None:
        self._note_deaths()
        for message, fds in self._channel.receive():
            self._handlers[message[0]](self, message, fds)
        self._channel.flush()

    # ---- what the launcher asks for

    def _start(self, message: Message, fds: list[int]) -> None:
        _, rank, programs, argv, env = message
        try:
            pid = self._starter.start(Order(rank, programs, argv, env, fds), self._private())
        except OSError as error:
            self._channel.send(("failed", rank, error.errno or 0))
        else:
            self._leaders[pid] = rank
            self._watch.add(pid)
            self._channel.send(("started", rank, pid, time.monotonic_ns()))
        finally:
            close_all(fds)

    def _seal(self, _message: Message, _fds: list[int]) -> None:
        self._starter.seal(self._private())

    def _reap(self, message: Message, _fds: list[int]) -> None:
        pid = message[1]
        self._corpses.discard(pid)
        reap(pid)
        self._reap_orphans()

    def _hush_gang(self, message: Message, _fds: list[int]) -> None:
        self._hush = message[1]
        self._hush_orphans()

    def _answer(self, _message: Message, _fds: list[int]) -> None:
        self._channel.send(("pong",))

    def _sweep(self, _message: Message, _fds: list[int]) -> None:
        killed, stuck = sweep(os.getpid(), self._settle, self._leaders)
        self._note_deaths()
        self._channel.send(("swept", self._silenced(), killed, stuck))

    _handlers: dict[str, Callable[[Warden, Message, list[int]], None]] = {  # noqa: RUF012
        "start": _start,
        "sealed": _seal,
        "reap": _reap,
        "hush": _hush_gang,
        "sweep": _sweep,
        "ping": _answer,
    }

    # ---- what happens by itself

    def _settle(self, seconds: float) -> None:
        poller = select.poll()
        poller.register(self._wakeup[0], select.POLLIN)
        if not self._channel.closed:
            poller.register(self._channel, select.POLLIN)
        poller.poll(seconds * 1000)
        self._serve()

    def _note_deaths(self) -> None:
        woken = _drain(self._wakeup[0])
        endings = self._watch.deaths()
        now = time.monotonic_ns()
        for ending in endings:
            self._report(ending, now)
        if woken or endings:
            self._reap_orphans()
            if self._hush is not None:
                self._hush_orphans()

    def _report(self, ending: Ending, now: int) -> None:
        rank = self._leaders.pop(ending.pid, None)
        if rank is None:  # seen already, by the other of pidfd and SIGCHLD
            return
        self._corpses.add(ending.pid)
        self._channel.send(("death", rank, ending.pid, ending.exitcode, ending.core_dumped, now))

    def _reap_orphans(self) -> None:
        # `peek_any` may show the same unacknowledged worker again and again; what lies behind it is
        # reaped when that acknowledgement comes.
        while (ending := peek_any()) is not None and ending.pid not in self._corpses:
            if ending.pid in self._leaders:
                self._report(ending, time.monotonic_ns())
            else:
                self._reap_orphan(ending)

    def _reap_orphan(self, ending: Ending) -> None:
        # One that leaves with a status of its own was about to (a resource tracker whose owner has
        # gone), or took the signal for what it is: it was not ended by us.
        if ending.exitcode >= 0 and ending.pid in self._hushed:
            self._hushed[ending.pid] = _GONE
        reap(ending.pid)

    def _hush_orphans(self) -> None:
        """Pass the stop on to what dead leaders left, and say when nothing lives any more."""
        known = self._leaders.keys() | self._corpses
        orphans = living(pid for pid in children(os.getpid()) if pid not in known)
        found = {**orphans, **living(descendants(orphans))}
        fresh = {
            pid: stat
            for pid, stat in found.items()
            if stat.session not in self._leaders and pid not in self._hushed
        }
        for left in describe(fresh, ()):
            self._hushed[left[0]] = left
            wake_and_send(left[0], self._hush or 0)
        if not orphans and not self._leaders:
            self._hush = None
            self._channel.send(("quiet", self._silenced()))

    def _silenced(self) -> list[Left]:
        return [left for left in self._hushed.values() if left is not _GONE]


def _drain(fd: int) -> bool:
    try:
        return bool(os.read(fd, 4096))
    except BlockingIOError:
        return False
