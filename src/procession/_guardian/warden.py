"""The guardian's loop: start, watch, report, reap; and end everything when the launcher is gone."""

from __future__ import annotations

import os
import select
import time
from errno import EMFILE

from procession._guardian.starters import Order, close_all
from procession._guardian.sweep import are_busy, describe, kill_group, sweep, wake_and_send
from procession._guardian.warmth import Warmth
from procession._os.boottime import boottime_ns
from procession._os.deaths import DeathWatch, Ending, peek, peek_any, reap
from procession._os.lean import end_after
from procession._os.proc import children, descendants, living
from procession._os.sigchld import leave_reaping_to_kernel, listen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from procession._guardian.channel import Channel
    from procession._guardian.protocol import Message
    from procession._guardian.starters import Starter
    from procession._guardian.sweep import Left
    from procession._os.cgroup import Leaf
    from procession._os.namespaces import OuterPids
    from procession._os.parent import Parent
    from procession._os.proc import Stat


_GONE: Left = (0, "", 0, "")  # in place of an orphan that ended with a status of its own
_GLANCE = 0.25  # seconds between looks at the parent's pid, where there are no pidfds
_NEVER = float("inf")
# Seconds of processor time between two sleeps of the loop. An interpreter without memory may never come to
# an end: to unwind an exception it needs an int, for which CPython 3.11 tries for ever (Python/ceval.c).
_MOST_WORK = 10.0
_BUSY = 10  # so many times as long are orphans spared that only wait for a processor or a disk
_BREATH = 0.01  # seconds between looks for orphans while leaders die: each lists all children


class Warden:
    """Guards one gang at a time on behalf of the launcher at the other end of ``channel``."""

    def __init__(
        self,
        channel: Channel,
        starter: Starter,
        launcher: Parent,
        lock: int,
        outside: OuterPids | None = None,
    ) -> None:
        """Store what to serve.

        Args:
            channel: To the launcher.
            starter: Starts workers.
            launcher: The socket alone does not tell of its end: whatever the launcher has forked
                since holds a copy of its end of it.
            lock: The run's, open for writing: held for as long as this process lives.
            outside: How the launcher calls our processes, where it has numbers of its own for them.
        """
        self._channel = channel
        self._lock = lock
        self._launcher = launcher
        self._outside = outside
        self._leaf: Leaf | None = None  # the gang's cgroup, where it was asked for
        self._numbers: dict[int, int] = {}  # pid -> what the launcher calls it, of all workers
        self._starter = starter
        self._watch = DeathWatch()
        self._sigchld = listen()
        self._warmth = Warmth(self, starter)
        self._leaders: dict[int, int] = {}  # pid -> rank of the workers that live
        self._corpses: set[int] = set()  # reported deaths that the launcher has not acknowledged
        self._given_up: set[int] = set()  # children that no sweep of an earlier gang could end
        self._hush: int | None = None  # the signal that orphans get, once the gang is being stopped
        self._hushed: dict[int, Left] = {}
        self._look_at = _NEVER  # when to look for orphans that are to be hushed
        self._looked = -_NEVER  # when that was done last
        self._dead: set[int] = set()  # orphans that had ended: no child can come of them
        self._spared_until = -_NEVER  # when they are signalled; all in monotonic seconds
        self._busy_until = -_NEVER  # the same of those that have something to do
        self._fuse = 0  # CLOCK_BOOTTIME ns at which all is to end, 0 for never

    def run(self) -> None:
        """Serve until the launcher closes its end or dies, then leave nothing behind."""
        try:
            while not (self._channel.closed or self._launcher.gone or self._burnt()):
                self._wait(self._patience())
                if not self._burnt():  # whoever is warm would start what it was asked for
                    self._serve()
            self._warmth.drop_orders()  # nobody is born any more
        finally:
            self._end_descendants(frozenset())
            if self._leaf is not None:
                self._leaf.remove()
            while (ending := peek_any()) is not None:  # nobody will acknowledge them any more
                reap(ending.pid)

    def _patience(self) -> float | None:
        """For how many seconds nothing has to be looked at; None for ever."""
        glance = _NEVER if self._launcher.fd is not None else _GLANCE
        fuse = (self._fuse - boottime_ns()) / 1e9 if self._fuse else _NEVER
        patience = min(glance, fuse, self._look_at - time.monotonic())
        return None if patience == _NEVER else max(patience, 0.0)

    def _burnt(self) -> bool:
        return 0 < self._fuse <= boottime_ns()

    def _private(self) -> list[int]:
        own = [self._channel.fileno(), self._lock, *self._sigchld.fds, *self._watch.fds()]
        outside = None if self._outside is None else self._outside.fd
        return [*own, *(fd for fd in (self._launcher.fd, outside) if fd is not None)]

    def _number(self, pid: int) -> int:
        """What the launcher calls ``pid``."""
        if self._outside is None:
            return pid
        return self._numbers.get(pid) or self._outside.of(pid)

    def _wait(self, seconds: float | None) -> None:
        poller = select.poll()
        poller.register(self._channel, select.POLLIN | (select.POLLOUT * self._channel.clogged))
        for fd in (self._watch.fileno(), self._sigchld.fds[0], self._launcher.fd):
            if fd is not None and fd >= 0:
                poller.register(fd, select.POLLIN)
        for channel in self._warmth.channels():
            poller.register(channel, select.POLLIN | (select.POLLOUT * channel.clogged))
        end_after(_MOST_WORK)
        poller.poll(None if seconds is None else seconds * 1000 + 1)

    def _serve(self) -> None:
        self._warmth.hear()
        self._note_deaths()
        for message, fds in self._channel.receive():
            self._handlers[message[0]](self, message, fds)
        self._channel.flush()

    # ---- what the launcher asks for

    def _start(self, message: Message, fds: list[int]) -> None:
        self._note_deaths()  # who has died until now has died before whoever is started
        _, rank, programs, argv, env, count = message
        order = Order(rank, programs, argv, env, fds)
        if self._burnt():  # told by a launcher that had been stopped: all ends, and nothing begins
            close_all(fds)
        elif len(fds) < count:  # we may not have so many files open: what came in vain is closed
            self.fail(order, EMFILE)
        elif not self._warmth.take(order):
            self.start_here(order)

    def start_here(self, order: Order) -> None:
        """Start a worker from its argv."""
        began = time.monotonic_ns()
        try:
            pid = self._starter.start(order, self._private())
        except OSError as error:
            self.fail(order, error.errno or 0)
        else:
            self.born(order.rank, pid, began)
            if (ending := peek(pid)) is not None:  # unwatched, and before who dies now
                self._report(ending, time.monotonic_ns())
            close_all(order.fds)

    def born(self, rank: int, pid: int, began: int) -> None:
        """Guard a worker from now on, and say so.

        Args:
            rank: Its local rank.
            pid: Its process id.
            began: CLOCK_MONOTONIC ns before which it cannot have done anything: what it says of its
                end is believed from then on.
        """
        self._leaders[pid] = rank
        self._watch.add(pid)
        if self._leaf is not None:
            self._leaf.add(pid)
        self._numbers[pid] = self._number(pid)
        self._channel.queue(("started", rank, self._numbers[pid], began))

    def fail(self, order: Order, errno: int) -> None:
        """Say that an order cannot be carried out."""
        self._channel.send(("failed", order.rank, errno))
        close_all(order.fds)

    def announce(self, state: str, report: dict[str, Any]) -> None:
        """Say what came of a fork server or a spare."""
        self._channel.send(("server", state, report))

    def watch(self, pid: int) -> None:
        """See the death of a fork server or a spare, whose pid the launcher learns."""
        self._watch.add(pid)
        self.announce("importing", {"pid": self._number(pid)})

    def _serve_warm(self, message: Message, _fds: list[int]) -> None:
        self._warmth.serve(message)

    def _seal(self, _message: Message, _fds: list[int]) -> None:
        self._starter.seal(self._private())
        self._warmth.refill()

    def _reap(self, message: Message, _fds: list[int]) -> None:
        acknowledged = set(message[1])
        if self._outside is not None:
            acknowledged = {pid for pid in self._corpses if self._number(pid) in acknowledged}
        for pid in acknowledged & self._corpses:
            self._corpses.discard(pid)
            reap(pid)
        self._reap_orphans()

    def _hush_gang(self, message: Message, _fds: list[int]) -> None:
        self._warmth.drop_orders()
        self._hush = message[1]
        self._dead.clear()
        self._look_at = 0.0
        self._spared_until = time.monotonic() + message[2]
        self._busy_until = time.monotonic() + message[2] * _BUSY
        self._hush_if_due()

    def _unreaped(self) -> set[int]:
        """The workers whose pids, living or dead, nobody else can have been given."""
        return {*self._leaders, *self._corpses}

    def _strike(self) -> None:
        """Kill all that can be killed without looking for it."""
        for leader in self._unreaped():
            kill_group(leader)
        if self._leaf is not None:
            self._leaf.kill()

    def _use_cgroup(self, message: Message, _fds: list[int]) -> None:
        from procession._os.cgroup import Leaf

        self._leaf = Leaf(message[1])
        self._starter.use_cgroup(self._leaf)

    def _light(self, message: Message, _fds: list[int]) -> None:
        self._fuse = message[1]

    def _answer(self, _message: Message, _fds: list[int]) -> None:
        self._channel.send(("pong",))

    def _sweep(self, _message: Message, _fds: list[int]) -> None:
        self._warmth.drop_orders()
        killed, stuck = self._end_descendants(self._warmth.kept())
        leave_reaping_to_kernel(False)
        self._reap_orphans()
        self._note_deaths()
        self._channel.send(("swept", self._silenced(), killed, stuck))

    def _end_descendants(self, kept: frozenset[int]) -> tuple[list[Left], list[Left]]:
        unreaped, number = self._unreaped(), self._number
        me, settle, bury, strike = os.getpid(), self._settle, self._bury, self._strike
        return sweep(me, settle, bury, strike, unreaped, number, kept)

    def _follow(self, message: Message, fds: list[int]) -> None:
        from procession._os.circumstances import enter

        for here in fds:  # one, or none where we have no room for it
            enter(here, message[1])
        close_all(fds)
        self._warmth.follow(message)

    def _renew(self, _message: Message, _fds: list[int]) -> None:
        """Be as new for another gang; what was left of the last one has been swept."""
        self._end_hush()
        self._fuse = 0
        self._hushed.clear()
        self._leaders.clear()  # of one that could not die the next gang has another of the same rank
        for pid in self._corpses:
            reap(pid)
        self._corpses.clear()
        self._numbers.clear()
        self._leaf = None
        self._reap_orphans()
        self._given_up = set(children(os.getpid())) - self._warmth.kept()
        self._channel.send(("renewed",))

    _handlers: dict[str, Callable[[Warden, Message, list[int]], None]] = {  # noqa: RUF012
        "start": _start,
        "sealed": _seal,
        "reap": _reap,
        "hush": _hush_gang,
        "sweep": _sweep,
        "ping": _answer,
        "cgroup": _use_cgroup,
        "fuse": _light,
        "serve": _serve_warm,
        "renew": _renew,
        "follow": _follow,
    }

    # ---- what happens by itself

    def _settle(self, seconds: float) -> None:
        poller = select.poll()
        poller.register(self._sigchld.fds[0], select.POLLIN)
        if not self._channel.closed:
            poller.register(self._channel, select.POLLIN)
        end_after(_MOST_WORK)
        poller.poll(seconds * 1000)
        self._serve()

    def _note_deaths(self) -> None:
        woken, first = self._sigchld.take()
        endings = self._watch.deaths(first)
        now = time.monotonic_ns()
        for ending in endings:
            if ending.pid in self._warmth.kept():
                self._warmth.note_end(ending)
            else:
                self._report(ending, now)
        self._channel.flush()
        if woken or endings:
            self._reap_orphans()
            self._look_at = min(self._look_at, self._looked + _BREATH * bool(self._leaders))
        self._hush_if_due()

    def _report(self, ending: Ending, now: int) -> None:
        rank = self._leaders.pop(ending.pid, None)
        if rank is None:  # seen already, by the other of pidfd and SIGCHLD
            return
        self._corpses.add(ending.pid)
        number = self._number(ending.pid)
        self._channel.queue(("death", rank, number, ending.exitcode, ending.core_dumped, now))

    def _reap_orphans(self) -> None:
        # `peek_any` may show the same unacknowledged worker again and again; what lies behind it is
        # reaped when that acknowledgement comes.
        while (ending := peek_any()) is not None and ending.pid not in self._corpses:
            if ending.pid in self._leaders:
                self._report(ending, time.monotonic_ns())
            elif ending.pid in self._warmth.kept():
                self._warmth.note_end(ending)
            elif self._warmth.is_busy():
                return  # it may be a worker of whose birth we have not heard yet
            else:
                self._reap_orphan(ending)

    def _bury(self, pids: Iterable[int]) -> None:
        """Reap orphans; ``peek_any`` shows none that is behind an unacknowledged worker."""
        for ending in filter(None, map(peek, set(pids) - self._unreaped())):
            self._reap_orphan(ending)
        if not self._leaders:  # whose statuses are wanted; from here on no corpse is in the way
            leave_reaping_to_kernel(True)

    def _reap_orphan(self, ending: Ending) -> None:
        # One that leaves with a status of its own was about to (a resource tracker whose owner has
        # gone), or took the signal for what it is: it was not ended by us.
        if ending.exitcode >= 0 and ending.pid in self._hushed:
            self._hushed[ending.pid] = _GONE
        self._given_up.discard(ending.pid)
        reap(ending.pid)

    def _hush_if_due(self) -> None:
        """Look for orphans during a stop, soon after a death and at once after the last leader's."""
        due = time.monotonic() >= self._look_at
        if due or self._hush is None:
            self._look_at = _NEVER
        if due and self._hush is not None:
            self._hush_orphans()
            self._looked = time.monotonic()

    def _end_hush(self) -> None:
        self._hush, self._look_at = None, _NEVER

    def _hush_orphans(self) -> None:
        """Pass the stop on to what dead leaders left, and say when nothing lives any more."""
        known = self._leaders.keys() | self._corpses | self._given_up | self._warmth.kept()
        listed = set(children(os.getpid())) - known
        orphans = living(listed)
        found = {**orphans, **living(descendants(orphans))}
        now = time.monotonic()
        if now < self._spared_until or (now < self._busy_until and are_busy(found)):
            self._look_at = max(self._spared_until, now + _BUSY * _BREATH)
        else:
            self._signal_orphans(found)
        if orphans or self._leaders:
            return
        if listed <= self._dead:
            self._end_hush()
            self._channel.send(("quiet", self._silenced()))
        else:  # who has ended since the list was made has handed on children that are not in it
            self._dead, self._look_at = listed, time.monotonic()

    def _signal_orphans(self, found: dict[int, Stat]) -> None:
        fresh = {
            pid: stat
            for pid, stat in found.items()
            if stat.session not in self._leaders and pid not in self._hushed
        }
        for pid, left in describe(fresh, (), self._number).items():
            self._hushed[pid] = left
            wake_and_send(pid, self._hush or 0)

    def _silenced(self) -> list[Left]:
        return [left for left in self._hushed.values() if left is not _GONE]
