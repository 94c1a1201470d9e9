"""The guardian's warm processes: a fork server, or spares that wait for an order each.

Who starts a worker is decided here: the fork server where there is one, else a spare that is free,
else the guardian itself, from the argv that every order carries.
"""

from __future__ import annotations

import os
from errno import ECHILD, EMFILE

from procession._guardian.protocol import MAIN
from procession._guardian.server import GONE, HIRED, IMPORTING, READY, REFUSED, UNFIT, Server
from procession._guardian.starters import close_all
from procession._guardian.sweep import send
from procession._os.deaths import reap
from procession._os.lean import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from procession._guardian.protocol import Message
    from procession._guardian.server import Recipe
    from procession._guardian.starters import Order, Starter
    from procession._os.deaths import Ending

    class Guard(Protocol):
        """What the guardian does about workers, and says to the launcher."""

        def born(self, rank: int, pid: int, began: int) -> None:
            """Guard a worker from now on."""

        def fail(self, order: Order, errno: int) -> None:
            """Say that an order cannot be carried out."""

        def start_here(self, order: Order) -> None:
            """Start a worker from its argv."""

        def announce(self, state: str, report: dict[str, Any]) -> None:
            """Say what came of a server."""

        def watch(self, pid: int) -> None:
            """See the death of a server."""


class Warmth:
    """Keeps what has imported modules ahead, from gang to gang."""

    def __init__(self, guard: Guard, starter: Starter) -> None:
        """Have nothing warm until ``serve``."""
        self._guard = guard
        self._starter = starter
        self._servers: list[Server] = []
        self._recipe: Recipe = ((), {}, (), {})
        self._spares = 0
        self._refusing = False

    def serve(self, message: Message) -> None:
        """Have a fork server, or spares; what is there, or was found unfit, stays."""
        _, argv, env, modules, settings, self._spares = message
        self._recipe = (argv, env, modules, settings)
        self._refusing = False
        if self._spares:
            self.refill()
        elif all(server.state in (GONE, REFUSED) for server in self._servers):
            self._servers.clear()
            self._add()

    def follow(self, message: Message) -> None:
        """Have the servers go where the guardian has gone."""
        for server in self._servers:
            if not server.channel.closed:
                server.channel.send(message)

    def refill(self) -> None:
        """Have as many spares as were asked for; those that work have left."""
        free = [server for server in self._servers if server.state in (IMPORTING, READY)]
        for _ in range(self._spares - len(free)):
            self._add()

    def take(self, order: Order) -> bool:
        """Have ``order`` carried out by somebody warm; False if nobody is, and it is left as it was."""
        self.hear()  # who has ended meanwhile takes no order
        if self._refusing:
            close_all(order.fds)
            return True
        server = next((server for server in self._servers if server.usable), None)
        if server is None:
            return False
        server.take(order)
        self._hire_if_ready(server)
        return True

    def drop_orders(self) -> None:
        """Forget what has not been carried out."""
        for server in self._servers:
            for order in server.withdraw():
                close_all(order.fds)

    def kept(self) -> frozenset[int]:
        """The pids of those that outlive a gang."""
        return frozenset(server.pid for server in self._servers if server.state != HIRED)

    def is_busy(self) -> bool:
        """True while workers may have been forked that nobody knows yet."""
        return any(server.busy and not server.alone for server in self._servers)

    def channels(self) -> list[Any]:
        """What is to be polled."""
        return [server.channel for server in self._servers if not server.channel.closed]

    def hear(self) -> None:
        """Deal with what the servers have said."""
        for server in list(self._servers):
            if not server.channel.closed:
                self._hear(server)

    def note_end(self, ending: Ending) -> None:
        """Deal with a server that ended unasked, or as it was told to."""
        self.hear()
        server = next(server for server in self._servers if server.pid == ending.pid)
        reap(server.pid)
        argv, *_ = self._recipe
        words = {
            "exitcode": ending.exitcode,
            "stderr": server.last_words(),
            "program": argv[0],
        }
        state, module = server.state, server.importing if server.state is not READY else ""
        server.dismiss(state if state in (UNFIT, REFUSED) else GONE)
        server.close()
        killed = not module and ending.exitcode < 0  # before an import, of which it may have died
        if state is IMPORTING and module != MAIN and not killed:
            self._refuse(server, {"module": module, **words})
        elif state in (IMPORTING, READY):
            # The main module would end each worker as it has ended the server: let it.
            if server.busy or not server.alone:
                self._guard.announce("lost", {"module": module, **words})
            self._start_without(server)
        self._servers = [each for each in self._servers if each is not server or not each.alone]

    def _add(self) -> None:
        try:
            server = Server(self._recipe, self._starter, alone=bool(self._spares))
        except OSError as error:
            self._refusing = True
            argv, *_ = self._recipe
            self._guard.announce(REFUSED, {"errno": error.errno or 0, "program": argv[0]})
            return
        self._servers.append(server)
        self._guard.watch(server.pid)

    def _hear(self, server: Server) -> None:
        server.channel.flush()
        for message, fds in server.channel.receive():
            if message[0] == "forked":
                self._adopt(server, message[1], fds)
            else:
                self._says[message[0]](self, server, message[1])
            close_all(fds)
        if server.channel.closed and server.state is HIRED:
            self._servers.remove(server)
            server.leave()
        elif server.channel.closed:  # it has closed every fd that it had, and may live on
            server.dismiss(server.state)

    def _hire_if_ready(self, server: Server) -> None:
        if server.alone and server.state is READY and server.busy:
            self._guard.born(server.hire(), server.pid, server.sent_ns)

    def _note_import(self, server: Server, module: str) -> None:
        server.importing = module

    def _use(self, server: Server, report: dict[str, Any]) -> None:
        if not server.alone:
            self._guard.announce(READY, report)
        server.ready()
        self._hire_if_ready(server)

    def _do_without(self, server: Server, report: dict[str, Any]) -> None:
        server.dismiss(UNFIT)
        self._guard.announce(UNFIT, report)
        self._start_without(server)

    def _start_without(self, server: Server) -> None:
        for order in server.withdraw():
            self._guard.start_here(order)

    def _refuse(self, server: Server, report: dict[str, Any]) -> None:
        server.dismiss(REFUSED)
        self._refusing = True
        self._guard.announce(REFUSED, report)
        self.drop_orders()

    def _adopt(self, server: Server, births: list[tuple[int, int]], gate: list[int]) -> None:
        for serial, pid in births:
            order = server.answered(serial)
            if order is not None and pid > 0 and gate:
                self._guard.born(order.rank, pid, server.sent_ns)
                continue
            if pid > 0:  # it is the guardian's already, and waits at the gate
                send(pid, SIGKILL)
            if order is not None:  # a gate that did not arrive: we may not have so many files open
                self._guard.fail(order, -pid if pid < 0 else EMFILE if pid else ECHILD)
        for opener in gate:
            _open(opener, sum(pid > 0 for _, pid in births))

    _says: dict[str, Callable[[Warmth, Server, Any], None]] = {  # noqa: RUF012
        "importing": _note_import,
        "ready": _use,
        "unfit": _do_without,
        "refused": _refuse,
    }


def _open(gate: int, count: int) -> None:
    """Let so many workers through a gate."""
    try:
        os.write(gate, bytes(count))
    except BrokenPipeError:  # all of them have been killed
        return
