"""One end of the socket pair between launcher and guardian. It never blocks.

Frames carry file descriptors (SCM_RIGHTS). On a stream socket the kernel ends a read at the frame
that brought fds, so they arrive in order and each message takes as many as its frame counts.
"""

from __future__ import annotations

import sys

from procession._guardian.protocol import Decoder, encode
from procession._os.lean import CMSG_SPACE, MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOL_SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from procession._guardian.protocol import Message
    from procession._os.lean import socket

_INT = 4  # bytes of a C int, the unit of SCM_RIGHTS
_MOST_FDS = 253  # SCM_MAX_FD, include/net/scm.h
_MOST_FRAMES = 1024  # UIO_MAXIOV, include/uapi/linux/uio.h
_CHUNK = 1 << 16


class Channel:
    """Sends messages and fds without blocking; what the socket does not take yet is kept."""

    def __init__(self, sock: socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._decoder = Decoder()
        self._outbox: list[tuple[bytes, Sequence[int]]] = []
        self._fds: list[int] = []
        self.closed = False

    def fileno(self) -> int:
        """The fd to poll."""
        return self._sock.fileno()

    @property
    def clogged(self) -> bool:
        """True while messages wait for the socket to take them."""
        return bool(self._outbox)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Queue ``message`` and send what can be sent; ``fds`` stay open until ``clogged`` is False."""
        self.queue(message, fds)
        self.flush()

    def queue(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Have ``message`` wait for the next ``flush``, which sends many in one call."""
        self._outbox.append((encode(message, len(fds)), fds))

    def flush(self) -> None:
        """Send what the socket takes now, many messages a call."""
        while self._outbox and not self.closed:
            count = self._batch()
            sent = self._send_some([frame for frame, _ in self._outbox[:count]], self._outbox[0][1])
            if sent == 0:
                return
            self._strike(sent)

    def _batch(self) -> int:
        """How many of the waiting messages can go in one call: fds travel with its first byte."""
        ahead = self._outbox[1:_MOST_FRAMES]
        return 1 + next((i for i, (_, fds) in enumerate(ahead) if fds), len(ahead))

    def _strike(self, sent: int) -> None:
        """Forget the first ``sent`` bytes of what waits, and the fds that went with them."""
        done = 0
        for frame, _ in self._outbox:
            if sent < len(frame):
                break
            sent -= len(frame)
            done += 1
        del self._outbox[:done]
        if sent:
            self._outbox[0] = self._outbox[0][0][sent:], ()

    def receive(self) -> Iterator[tuple[Message, list[int]]]:
        """Yield the messages that are there, each with its fds; sets ``closed`` at the end.

        They are taken from the socket one by one, so that no more fds are held than one message has.
        A process that has no room for all of them is given fewer than were sent (unix(7),
        MSG_CTRUNC); a message that cannot do without says how many it has.
        """
        while (data := self._receive_some()) is not None:
            for message, count in self._decoder.feed(data):
                fds, self._fds = self._fds[:count], self._fds[count:]
                yield message, fds

    def close(self) -> None:
        """Close the socket; the peer reads an end of file."""
        self.closed = True
        self._outbox.clear()
        self._sock.close()

    def _send_some(self, frames: Sequence[bytes], fds: Sequence[int]) -> int:
        rights = b"".join(fd.to_bytes(_INT, sys.byteorder) for fd in fds)
        ancillary = [(SOL_SOCKET, SCM_RIGHTS, rights)] if fds else []
        try:
            return self._sock.sendmsg(frames, ancillary)
        except BlockingIOError:
            return 0
        except (BrokenPipeError, ConnectionResetError):
            self.closed = True
            return 0

    def _receive_some(self) -> bytes | None:
        if self.closed:
            return None
        try:
            data, ancillary, _, _ = self._sock.recvmsg(
                _CHUNK, CMSG_SPACE(_MOST_FDS * _INT), MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return None
        except (
            ConnectionResetError
        ):  # the peer ended with our messages unread: its end all the same
            data, ancillary = b"", []
        for _, _, rights in ancillary:
            self._adopt(rights)
        if not data:
            self.closed = True
            return None
        return data

    def _adopt(self, rights: bytes) -> None:
        for at in range(0, len(rights) - len(rights) % _INT, _INT):
            self._fds.append(int.from_bytes(rights[at : at + _INT], sys.byteorder))
