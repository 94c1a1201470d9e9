"""The guardian's side of a fork server: orders wait for its imports, and are sent to it then."""

from __future__ import annotations

import os
import time
from itertools import count

from procession._guardian.channel import Channel
from procession._guardian.starters import Order, close_all
from procession._guardian.sweep import send
from procession._os import lean
from procession._os.anonymous import anonymous_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from procession._guardian.starters import Starter

    Recipe = tuple[Sequence[str], dict[str, str], Sequence[str], dict[str, Any]]

IMPORTING, READY, UNFIT, REFUSED = "importing", "ready", "unfit", "refused"
HIRED, GONE = "hired", "gone"
_TAIL = 4096  # bytes of what the imports wrote to stderr, for the report of their end


class Server:
    """A child of the guardian that has imported modules (``forker.py``).

    It forks workers, who fall to the guardian; or it is a spare, and becomes one itself.

    Attributes:
        alone: It is a spare.
        pid: Its pid, 0 once it has ended.
        state: ``UNFIT`` where its imports have left what a fork would break, ``REFUSED`` where one
            of them failed, ``HIRED`` where a spare has become a worker.
        importing: The module whose import it has begun last.
        sent_ns: CLOCK_MONOTONIC ns before the last order was sent to it.
    """

    def __init__(self, recipe: Recipe, starter: Starter, *, alone: bool) -> None:
        """Start it, as a worker is started: workers inherit its signals, flags and environment.

        Args:
            recipe: argv, environment, modules and settings, as of "serve" in the protocol.
            starter: Starts it.
            alone: It is a spare.

        Raises:
            OSError: The interpreter cannot be started.
        """
        self.alone = alone
        self.state = IMPORTING
        self.importing = ""
        self.sent_ns = 0
        self._captured: list[int] = []
        self._serials = count()
        self._orders: dict[int, Order] = {}  # serial -> what has not been answered yet
        argv, env, modules, settings = recipe
        ours, theirs = lean.socketpair()
        self.channel = Channel(ours)
        try:
            self.pid = self._spawn(argv, env, theirs.fileno(), starter)
        except OSError:
            self.channel.close()
            close_all(self._captured)
            raise
        finally:
            theirs.close()
        self.channel.send(("preload", tuple(modules), settings, alone, env))

    def _spawn(self, argv: Sequence[str], env: dict[str, str], fd: int, starter: Starter) -> int:
        for name in ("stdout", "stderr"):
            self._captured.append(anonymous_file(f"procession-{name}"))
        quiet = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            order = Order(-1, (argv[0],), argv, env, [quiet, *self._captured, fd])
            return starter.start(order, ())
        finally:
            os.close(quiet)

    @property
    def usable(self) -> bool:
        """True if an order can be given."""
        if self.alone and (self._orders or self.channel.closed):
            return False
        return self.state in (IMPORTING, READY)

    @property
    def busy(self) -> bool:
        """True while orders have not been answered: workers may be there that nobody knows yet."""
        return bool(self._orders)

    def take(self, order: Order) -> None:
        """Have ``order`` carried out, now or when the imports are done."""
        serial = next(self._serials)
        self._orders[serial] = order
        if self.state is READY:
            self._send(serial, order)

    def ready(self) -> None:
        """Take note that the imports are done, and send what has waited for them."""
        self.state = READY
        for serial, order in self._orders.items():
            self._send(serial, order)

    def answered(self, serial: int) -> Order | None:
        """Return the order that was carried out, its fds closed; None for one that was dropped."""
        order = self._orders.pop(serial, None)
        if order is not None:
            close_all(order.fds)
        return order

    def withdraw(self) -> list[Order]:
        """Return the orders that have not been answered, with their fds; no answer counts any more."""
        if self.channel.clogged:  # some wait to be sent, with fds that are about to be closed
            self.dismiss(GONE)
        orders, self._orders = self._orders, {}
        return list(orders.values())

    def dismiss(self, state: str) -> None:
        """End the process, which is of no use any more."""
        self.state = state
        self.channel.close()
        if self.pid:
            send(self.pid, lean.SIGKILL)

    def hire(self) -> int:
        """Take note that this spare is a worker now, and return its rank."""
        self.state = HIRED
        (order,) = self._orders.values()
        return order.rank

    def leave(self) -> None:
        """Let go of a spare that has begun to work, and of what was sent to it."""
        for order in self.withdraw():
            close_all(order.fds)
        self.close()

    def last_words(self) -> str:
        """Return the end of what it wrote to stderr."""
        try:
            size = os.fstat(self._captured[1]).st_size
            return os.pread(self._captured[1], _TAIL, max(0, size - _TAIL)).decode(errors="replace")
        except OSError:
            return ""

    def close(self) -> None:
        """Let go of the fds, once the process has ended."""
        self.pid = 0
        close_all(self._captured)
        self._captured = []

    def _send(self, serial: int, order: Order) -> None:
        words = (serial, order.rank, tuple(order.argv), order.env, len(order.fds))
        self.sent_ns = time.monotonic_ns()
        self.channel.send(("start", *words), order.fds)
