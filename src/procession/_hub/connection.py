"""One host's connection to the hub, as the hub has it: nothing here waits."""

from __future__ import annotations

import socket
from typing import Any

from procession._hub.frames import LIMIT, FrameError, Unframer, frame

_AT_ONCE = 256 * 1024  # bytes


class Connection:
    """A connection.

    Attributes:
        sock: Its socket, which does not block.
        host: The id of the host at its other end, empty before it has said who it is.
        frames: Makes objects of what comes.
        is_over: The other end has said its last word.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.host = ""
        self.frames = Unframer()
        self.is_over = False
        self._out = bytearray()
        self._answered: dict[str, Any] = {}  # the last "done", which stands for those before it

    def receive(self) -> list[dict[str, Any]]:
        """Return what has come.

        Raises:
            OSError: The connection is broken.
            FrameError: It is not of this protocol.
        """
        try:
            data = self.sock.recv(_AT_ONCE)
        except BlockingIOError:
            return []
        self.is_over = not data
        return self.frames.feed(data)

    def answer(self, said: dict[str, Any]) -> None:
        """Have an answer sent by the next ``flush``; of several "done" the last."""
        if "done" in said:
            self._answered = said
        else:
            self._out += frame(said)

    def flush(self) -> None:
        """Send what the other end takes now.

        Raises:
            OSError: The connection is broken.
        """
        if self._answered:
            self._out += frame(self._answered)
            self._answered = {}
        self.send(b"")

    def send(self, data: bytes) -> None:
        """Send what the other end takes now, and keep the rest.

        Raises:
            OSError: The connection is broken.
            FrameError: The other end takes nothing any more.
        """
        self._out += data
        if len(self._out) > LIMIT:
            raise FrameError("it does not take what it is told")
        try:
            sent = self.sock.send(self._out) if self._out else 0
        except BlockingIOError:
            return
        del self._out[:sent]

    @property
    def is_behind(self) -> bool:
        """Whether there is something that the other end has not taken."""
        return bool(self._out)
