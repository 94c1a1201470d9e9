"""The port at which hosts arrive, where it is MASTER_PORT: the workers' while there are workers.

torchrun's users give one port, at which the hosts meet and at which rank 0 will listen. The hub takes
it while no worker is alive, sends who arrives there to a port of its own, and has let go of it before
the first worker starts. docs/why/hub.md tells why.
"""

from __future__ import annotations

import math
import socket
import struct
from typing import TYPE_CHECKING

from procession._log import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from procession._hub.connection import Connection

logger = Logger(__name__)

_AGAIN = 0.2  # seconds between two tries to have it back


class Lending:
    """The port.

    Args:
        listener: A socket that listens there.
        listen: Makes another such.

    Attributes:
        listener: What listens there now, None while it is lent.
        arrived: Connections that came by it.
        due: When to try again to have it back, infinite where that is not needed.
    """

    def __init__(self, listener: socket.socket, listen: Callable[[], socket.socket]) -> None:
        self.listener: socket.socket | None = listener
        self.arrived: list[Connection] = []
        self.due = math.inf
        self._listen = listen

    def lend(self) -> None:
        """Let go of it."""
        if self.listener is not None:
            self.listener.close()
        self.listener, self.due = None, math.inf

    def take_back(self, now: float) -> socket.socket | None:
        """Listen there again; None where that cannot be yet: something of the workers is left."""
        if self.due != math.inf and now < self.due:
            return None
        try:
            self.listener, self.due = self._listen(), math.inf
        except OSError as error:
            logger.debug("listening again: %s", error)
            self.due = now + _AGAIN
        return self.listener

    def forget(self, connection: Connection) -> None:
        """Leave nothing of a connection at the port, not for the time of TIME_WAIT either."""
        if connection in self.arrived:
            self.arrived.remove(connection)
            at_once = struct.pack("ii", 1, 0)  # socket(7), SO_LINGER
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
