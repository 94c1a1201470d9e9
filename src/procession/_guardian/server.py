"""The guardian's side of a fork server: orders wait for its imports, and are sent to it then."""

from __future__ import annotations

import os
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

IMPORTING, READY, UNFIT, REFUSED, GONE = "importing", "ready", "unfit", "refused", "gone"
_TAIL = 4096  # bytes of what the imports wrote to stderr, for the report of their end


class Server:
    """A child of the guardian that forks workers; they fall to the guardian (``forker.py``).

    Attributes:
        pid: Its pid, 0 once it has ended.
        state: ``UNFIT`` where its imports have left what a fork would break, ``REFUSED`` where one
            of them failed.
        importing: The module whose import it has begun last.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: dict[str, str],
        modules: Sequence[str],
        settings: dict[str, Any],
        starter: Starter,
    ) -> None:
        """Start it, as a worker is started: workers inherit its signals, flags and environment.

        Raises:
            OSError: The interpreter cannot be started.
        """
        self.state = IMPORTING
        self.importing = ""
        self._captured: list[int] = []
        self._serials = count()
        self._orders: dict[int, Order] = {}  # serial -> what has not been answered yet
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
        self.channel.send(("preload", tuple(modules), settings))

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

    def end_if_deserted(self) -> None:
        """End a process that has closed its channel and lives on: an import that closes every fd."""
        if self.channel.closed:
            self.dismiss(self.state)

    def last_words(self) -> str:
        """Return the end of what it wrote to stderr."""
        try:
            size = os.fstat(self._captured[1]).st_size
            return os.pread(self._captured[1], _TAIL, max(0, size - _TAIL)).decode(errors="replace")
        except OSError:
            return ""

    def fds(self) -> list[int]:
        """The fds that no worker may have."""
        return (
            [*self._captured] if self.channel.closed else [*self._captured, self.channel.fileno()]
        )

    def close(self) -> None:
        """Let go of the fds, once the process has ended."""
        self.pid = 0
        close_all(self._captured)
        self._captured = []

    def _send(self, serial: int, order: Order) -> None:
        words = (serial, order.rank, tuple(order.argv), order.env, len(order.fds))
        self.channel.send(("start", *words), order.fds)
