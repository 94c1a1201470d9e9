"""Signals that are for the launcher: raised in the caller's code, held while ours runs.

A handler that raises does so between any two bytecodes. In the caller's code that is what torch
documents (``SignalException`` out of whatever they do); in the middle of our bookkeeping it would
lose a worker. So while the main thread is inside one of our calls the signal is kept and raised when
the call returns.

The loop is woken by the interpreter's wakeup fd, which is written in the C handler. A Python handler
would be too late: it runs between bytecodes, and a signal that comes after the last bytecode before
poll(2) interrupts nothing.
"""

from __future__ import annotations

import math
import os
import select
import signal
import threading
import time
from contextlib import contextmanager, suppress
from io import FileIO
from typing import TYPE_CHECKING, Any
from weakref import WeakMethod

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType


def weakly(method: Callable[[int], object]) -> Callable[[int], object]:
    """Call ``method`` while its object lives: a circle would keep that, with all results, until a collection."""
    reference = WeakMethod(method)

    def call(number: int) -> object:
        living = reference()
        return living(number) if living is not None else None

    return call


class _Once:
    """Whether the signal has been raised that is to be the only one."""

    raised = False


class SignalGate:
    """Handlers for one gang's signals, from ``install`` to ``restore``."""

    def __init__(
        self,
        raise_for: Callable[[int], BaseException],
        forward: Callable[[int], object],
        spare: Callable[[int], object] = lambda _: False,
        *,
        once: bool = False,
    ) -> None:
        """Store what to do with signals.

        Args:
            raise_for: Makes the exception for a terminating signal.
            forward: Passes a signal on to the workers; it must be quick and must not block.
            spare: Asked before a terminating signal is taken for one; what is true says that it has
                been dealt with otherwise.
            once: Only the first is raised, by this gate or by one that is laid over it: those that come
                later wait to be taken, and cannot take the place of what the first one has begun.
        """
        self._raise_for = raise_for
        self._forward = forward
        self._spare = spare
        self._once = _Once() if once else None
        self._traps: list[_Trap] = []
        self._depth = 0
        self._over = False  # the handlers are to be put back
        self._silent = False
        self._pending: list[int] = []
        self.wake_fd = self._wake_end = -1
        self._ends: tuple[FileIO, ...] = ()
        self._outer_wake_end: int | None = (
            None  # whom the interpreter woke before us, while we hold
        )

    def install(self, terminating: Iterable[int], forwarded: Iterable[int]) -> None:
        """Set the handlers; a signal that is ignored stays ignored (nohup). Called once.

        ``terminating`` wins over ``forwarded``. Outside the main thread Python allows no handlers:
        nothing is installed there.
        """
        self.wake_fd, self._wake_end = os.pipe()
        self._ends = (FileIO(self.wake_fd, "r"), FileIO(self._wake_end, "w"))
        os.set_blocking(self.wake_fd, False)
        os.set_blocking(self._wake_end, False)
        if not _in_main_thread():
            return
        if self._depth:  # we are held already, and nothing could wake us until now
            self._listen()
        actions = {
            **dict.fromkeys(forwarded, self._forward),
            **dict.fromkeys(terminating, self._end),
        }
        for signum, action in actions.items():
            if signal.getsignal(signum) is not signal.SIG_IGN:
                trap = _Trap(self, signum, action, ends=action == self._end)
                self._traps.append(trap)
                self._once = self._once or (trap.below._once if trap.below is not None else None)
                trap.arm()

    def restore(self) -> None:
        """Put the old handlers back and let go of the fds: inside ``held``, on the way out of it.

        Until then signals are held as ever: an old handler may raise, which would leave half-way what
        puts things in order here. Only the main thread can set handlers. Called from another while
        the main thread is elsewhere, this makes ours pass signals on to the old ones, which the next
        call from the main thread puts back.
        """
        self._over = True
        if not self._depth:
            self._let_go()

    def silence(self) -> None:
        """Take no notice of terminating signals any more: what this process ends with is decided."""
        self._silent = True
        self._pending.clear()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold signals back inside; the first that came is raised on the way out.

        An exception of the body's own goes first. In another thread than the main one nothing is
        held, because handlers do not run there.
        """
        if not _in_main_thread():
            yield
            return
        self._depth += 1
        self._listen()
        try:
            yield
        finally:
            if self._depth == 1:
                self._stop_listening()
            self._depth -= 1
            if self._over and not self._depth:
                self._let_go()
        if self._pending and not self._keeps_waiting:
            raise self._exception(self.take_pending()[0])

    def _let_go(self) -> None:
        # Any handler of the caller's may raise in here: whoever comes again finds what is left to do,
        # and a file object closes once, where a number may be another file's the second time.
        self.wake_fd = self._wake_end = -1
        for end in self._ends:
            end.close()
        for trap in self._traps:
            trap.disarm()
        while self._traps and _in_main_thread():
            self._traps[-1].restore()
            self._traps.pop()

    def _listen(self) -> None:
        if self._outer_wake_end is None and self._wake_end >= 0:
            self._outer_wake_end = signal.set_wakeup_fd(self._wake_end, warn_on_full_buffer=False)

    def _stop_listening(self) -> None:
        """Give the wakeup fd back to its owner (asyncio, another gate), who looks later."""
        if self._outer_wake_end is None:
            return
        outer, self._outer_wake_end = self._outer_wake_end, None
        signal.set_wakeup_fd(outer, warn_on_full_buffer=False)
        if outer >= 0 and self._pending:
            os.write(outer, bytes(self._pending))

    def note_wakeup(self) -> None:
        """Empty the wakeup pipe."""
        with suppress(BlockingIOError):
            os.read(self.wake_fd, 4096)

    def sleep(self, seconds: float, *fds: int) -> None:
        """Sleep until a terminating signal is there, one of the fds is readable, or time is over; held.

        A signal of another kind may end it early.
        """
        poller = select.poll()
        for each in (self.wake_fd, *fds):
            if each >= 0:
                poller.register(each, select.POLLIN)
        if not self._pending:
            poller.poll(None if seconds == math.inf else math.ceil(max(seconds, 0) * 1000))
        self.note_wakeup()

    def rest(self, seconds: float) -> None:
        """Let time pass; a terminating signal ends that at once, and is raised."""
        until = time.monotonic() + seconds
        with self.held():
            while not self.pending and (left := until - time.monotonic()) > 0:
                self.sleep(left)

    @property
    def holding(self) -> bool:
        """True while the main thread is inside ``held``."""
        return self._depth > 0

    @property
    def pending(self) -> bool:
        """True while a terminating signal waits to be raised."""
        return bool(self._pending)

    @property
    def called_away(self) -> bool:
        """True while a terminating signal waits to be raised as soon as nobody holds it back.

        It may be held by the gate over which this one is laid, whose frames have called ours.
        """
        if self._once is not None and self._once.raised:
            return False
        below = {trap.below for trap in self._traps}
        return self.pending or any(gate.holding and gate.called_away for gate in below if gate)

    def take_pending(self) -> list[int]:
        """Return the signals that were held, oldest first, and forget them."""
        pending, self._pending = self._pending, []
        return pending

    def spares(self, signum: int) -> bool:
        """Whether a terminating signal has been dealt with otherwise, in the place of a gate below."""
        return not self._silent and bool(self._spare(signum))

    def _end(self, signum: int) -> None:
        if self._silent or self._spare(signum):
            return
        self._pending.append(signum)
        if (
            not self._keeps_waiting
        ):  # one that was held may be just about to be raised: it came first
            raise self._exception(self.take_pending()[0])

    @property
    def _keeps_waiting(self) -> bool:
        return self._depth > 0 or (self._once is not None and self._once.raised)

    def _exception(self, signum: int) -> BaseException:
        if self._once is not None:
            self._once.raised = True
        return self._raise_for(signum)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


class _Trap:
    """One signal's handler of one gate; it steps aside for whoever set a handler over it.

    One that ends things does so too for a gate under it that holds, whose to raise it is. What is only
    passed on to workers is for the gate that has them.
    """

    def __init__(
        self, gate: SignalGate, signum: int, action: Callable[[int], object], *, ends: bool
    ) -> None:
        self.gate = gate
        self._ends = ends
        self._action: Callable[[int], object] | None = action
        self._signum = signum
        self._old = signal.getsignal(signum)  # known before the first signal can come to us

    def arm(self) -> None:
        """Be the handler from now on."""
        signal.signal(self._signum, self._handle)

    @property
    def below(self) -> SignalGate | None:
        """The gate over which ours is laid."""
        owner = getattr(self._old, "__self__", None)
        return owner.gate if isinstance(owner, _Trap) else None

    def disarm(self) -> None:
        """From now on pass signals on to the old handler."""
        self._action = None

    def restore(self) -> None:
        """Put the old handler back, unless another handler has been laid on top of this one."""
        if signal.getsignal(self._signum) == self._handle:
            signal.signal(self._signum, self._below())

    def _is_for_below(self) -> bool:
        """True if the gate under ours is holding: our caller's frames are procession's own too."""
        return self.below is not None and self.below.holding

    def _below(self) -> Any:
        owner = getattr(self._old, "__self__", None)
        if isinstance(owner, _Trap) and owner._action is None:
            return owner._below()
        return signal.SIG_DFL if self._old is None else self._old

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._action is not None and not (self._ends and self._is_for_below()):
            self._action(signum)
        elif self._action is not None and self.gate.spares(signum):
            return
        elif callable(old := self._below()):
            old(signum, frame)
        elif old == signal.SIG_DFL:
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)
