"""What launcher and guardian say to each other: tuples of plain values, framed, with fds beside.

To the guardian:

    ("start", rank, programs, argv, env)   fds 0, 1, 2, … of the worker travel with it
    ("sealed",)                            no further start will come
    ("reap", pid)                          the death of this worker has been taken note of
    ("hush", signum)                       the gang is being stopped: orphans get signum too
    ("sweep",)                             kill every descendant until none is left
    ("ping",)                              give a sign

From the guardian:

    ("started", rank, pid, ns)
    ("failed", rank, errno)
    ("death", rank, pid, exitcode, core_dumped, ns)
    ("quiet", hushed)                      after hush: no descendant lives any more
    ("pong",)
    ("swept", hushed, killed, stuck)

``hushed``, ``killed`` and ``stuck`` are lists of ``sweep.Left``: what did not survive the signal of the
stop, what was killed, and what could not die, dead workers' processes all, and workers too.

``marshal`` encodes them: both ends are the same interpreter, the peer is our own child over an
anonymous socket pair, and it costs no import. Times are CLOCK_MONOTONIC in ns.
"""

from __future__ import annotations

import marshal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Message = tuple[Any, ...]

_LENGTH = 4  # bytes of payload length, then one byte that counts the fds
HEADER = _LENGTH + 1


def encode(message: Message, fd_count: int = 0) -> bytes:
    """Return the frame of ``message``, with which ``fd_count`` fds travel (at most 253: SCM_MAX_FD)."""
    body = marshal.dumps(message)
    return len(body).to_bytes(_LENGTH, "little") + bytes((fd_count,)) + body


class Decoder:
    """Cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[Message, int]]:
        """Take the next bytes and return what is complete: each message with its number of fds."""
        self._buffer += data
        messages, at = [], 0
        while len(self._buffer) - at >= HEADER:
            body = at + HEADER
            end = body + int.from_bytes(self._buffer[at : at + _LENGTH], "little")
            if end > len(self._buffer):
                break
            message = marshal.loads(self._buffer[body:end])  # noqa: S302 - from our own child
            messages.append((message, self._buffer[body - 1]))
            at = end
        del self._buffer[:at]
        return messages
