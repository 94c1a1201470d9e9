"""The hub: a thread of the first host's agent that listens, and carries words to and fro."""

from __future__ import annotations

import math
import os
import selectors
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from procession._hub.connection import Connection
from procession._hub.frames import LIMIT, FrameError, frame
from procession._hub.state import RUN_OUT
from procession._log import Logger
from procession._store.fence import now

if TYPE_CHECKING:
    from procession._hub.lending import Lending
    from procession._hub.records import Changes
    from procession._hub.state import HubState

logger = Logger(__name__)

_STRANGERS = 10.0  # seconds in which who connects has to say who it is


class Hub(threading.Thread):
    """Serves the hosts of one run.

    Args:
        state: What it knows.
        listener: Where it listens, until the end.
        lending: The port at which hosts arrive, where the workers need that later; None where
            they arrive at the listener.
    """

    def __init__(self, state: HubState, listener: socket.socket, lending: Lending | None) -> None:
        super().__init__(name="procession-hub", daemon=True)
        self._state = state
        self._lending = lending
        self._selector = selectors.DefaultSelector()
        self._listener = listener
        self._connections: set[Connection] = set()
        self._strangers: dict[Connection, float] = {}  # who has not said who it is, and since when
        self._of_host: dict[str, Connection] = {}
        self._ear, self._bell = os.pipe()  # for this thread
        self._news_ear, self._news_bell = os.pipe()  # for who waits for the last host to leave
        for fd in (self._news_ear, self._news_bell):
            os.set_blocking(fd, False)
        self._closing = threading.Event()
        self._farewell = ""
        self.hosts: dict[str, str] = {}  # the names of those that are there, by id

    # ---- for other threads

    def fileno(self) -> int:
        """Return an fd that is readable once ``hosts`` has changed."""
        return self._news_ear

    def hush(self) -> None:
        """Make it unreadable until the next change."""
        with suppress(BlockingIOError):
            os.read(self._news_ear, 4096)

    def close(self, reason: str) -> None:
        """Tell whoever is there that this is the end, and end the thread."""
        self._farewell = reason
        self._closing.set()
        os.write(self._bell, b"!")
        self.join()
        for fd in (self._ear, self._bell, self._news_ear, self._news_bell):
            os.close(fd)

    # ---- in this one

    def run(self) -> None:
        """Serve until ``close``."""
        self._listen_to(self._listener)
        self._selector.register(self._ear, selectors.EVENT_READ)
        if self._lending is not None and self._lending.listener is not None:
            self._listen_to(self._lending.listener)
        try:
            while not self._closing.is_set():
                for key, _ in self._selector.select(self._timeout()):
                    if isinstance(key.data, Connection):
                        self._serve(key.data)
                    elif isinstance(key.data, socket.socket):
                        self._accept(key.data)
                self._settle()
            for connection in list(self._of_host.values()):
                self._last_word(connection, self._farewell)
        finally:
            self._let_go()

    def _listen_to(self, listener: socket.socket) -> None:
        self._selector.register(listener, selectors.EVENT_READ, listener)

    def _timeout(self) -> float | None:
        stranger = min(self._strangers.values(), default=math.inf) + _STRANGERS
        lending = self._lending.due if self._lending is not None else math.inf
        due = min(self._state.next_expiry, stranger, lending)
        return None if due == math.inf else max(due - now(), 0.0)

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError as error:  # who came has gone again, or fds have run out
            logger.debug("accept: %s", error)
            return
        connection = Connection(sock)
        if self._lending is not None and listener is self._lending.listener:
            self._lending.arrived.append(connection)
        self._connections.add(connection)
        self._strangers[connection] = now()
        self._selector.register(sock, selectors.EVENT_READ, connection)

    def _serve(self, connection: Connection) -> None:
        try:
            for said in connection.receive():
                answer = self._answer(connection, said)
                connection.answer(answer)
            connection.flush()
        except (OSError, FrameError) as error:
            logger.debug("%s: %s", connection.host or "a stranger", error)
            self._drop(connection)
        else:
            if connection.is_over:
                self._drop(connection)
            self._selector_follows(connection)

    def _answer(self, connection: Connection, said: dict[str, object]) -> dict[str, object]:
        if self._lending is not None and connection in self._lending.arrived:
            return {"go": self._listener.getsockname()[1]}
        if connection.host:
            return self._state.hear(connection.host, said, now())
        answer = self._state.hello(said, now())
        if "welcome" in answer:
            self._welcome(connection, str(said["id"]))
        return answer

    def _welcome(self, connection: Connection, host: str) -> None:
        before = self._of_host.get(host)
        if before is not None:
            self._drop(before)
        self._strangers.pop(connection, None)
        self._of_host[host] = connection
        connection.host, connection.frames.limit = host, LIMIT

    def _settle(self) -> None:
        """Do what time and what was said have brought, and tell everybody."""
        moment = now()
        for host in self._state.expire(moment):
            connection = self._of_host.get(host)
            if connection is not None:
                self._last_word(connection, RUN_OUT)
        for connection, began in list(self._strangers.items()):
            if began + _STRANGERS <= moment:
                self._drop(connection)
        if self._lending is not None:
            self._lend(self._lending, moment)
        changes = self._state.records.take_changes()
        if changes.written or changes.gone:
            self._tell(changes)
            self._note_hosts()

    def _note_hosts(self) -> None:
        names = {host: known.name for host, known in self._state.hosts.items()}
        if names != self.hosts:
            self.hosts = names
            with suppress(BlockingIOError):
                os.write(self._news_bell, b"!")

    def _lend(self, lending: Lending, moment: float) -> None:
        """Have the workers' port while there are none, and let go of it before there are."""
        between = self._state.is_between_gangs()
        if between and lending.listener is None:
            again = lending.take_back(moment)
            if again is not None:
                self._listen_to(again)
        elif not between and lending.listener is not None:
            self._selector.unregister(lending.listener)
            for connection in list(lending.arrived):
                self._drop(connection)
            lending.lend()

    def _tell(self, changes: Changes) -> None:
        whole, shared = changes.frame(), changes.below(self._state.shared).frame()
        for host, connection in list(self._of_host.items()):
            data = whole if host == self._state.owner else shared
            if not data:
                continue
            try:
                connection.send(data)
            except (OSError, FrameError) as error:
                logger.debug("%s: %s", connection.host, error)
                self._drop(connection)
            else:
                self._selector_follows(connection)

    def _selector_follows(self, connection: Connection) -> None:
        """Wait for room where there is more to send than has gone."""
        if connection in self._connections:
            more = selectors.EVENT_WRITE if connection.is_behind else 0
            self._selector.modify(connection.sock, selectors.EVENT_READ | more, connection)

    def _last_word(self, connection: Connection, reason: str) -> None:
        with suppress(OSError, FrameError):
            connection.send(frame({"lost": reason}))
        self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        """Break a connection off; its host may come back until its lease has run out."""
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        self._strangers.pop(connection, None)
        if self._of_host.get(connection.host) is connection:
            del self._of_host[connection.host]
        if self._lending is not None:
            self._lending.forget(connection)
        self._selector.unregister(connection.sock)
        connection.sock.close()

    def _let_go(self) -> None:
        for connection in list(self._connections):
            self._drop(connection)
        if self._lending is not None:
            self._lending.lend()
        self._listener.close()
        self._selector.close()
