"""What launcher and guardian say to each other: tuples of plain values, framed, with fds beside.

To the guardian:

    ("start", rank, programs, argv, env, count)   the worker's ``count`` fds travel with it
    ("sealed",)                            no further start will come
    ("reap", pids)                         the deaths of these workers have been taken note of
    ("hush", signum, seconds)              the gang is being stopped: orphans get signum too, if they have
                                           not ended by themselves in that time
    ("sweep",)                             kill every descendant until none is left
    ("ping",)                              give a sign
    ("cgroup", directory)                  workers go into this cgroup, and are killed by it
    ("serve", argv, env, modules, settings, spares)   keep a fork server for the starts to come, which
                                           imports ``modules`` first, or so many spares that have
                                           done so; ``settings``: _worker/reborn.py
    ("fuse", ns)                           kill all at that time (CLOCK_BOOTTIME; 0 never): unless it is
                                           put off, the launcher has been stopped or cut off
    ("renew",)                             the gang has ended, another will come
    ("follow", place)                      the launcher has gone elsewhere (_os/circumstances.py); its
                                           directory travels with it

From the guardian:

    ("started", rank, pid, ns)
    ("failed", rank, errno)
    ("death", rank, pid, exitcode, core_dumped, ns)
    ("quiet", hushed)                      after hush: no descendant lives any more
    ("pong",)
    ("renewed",)
    ("server", "importing", {"pid": pid})
    ("server", "ready", report)            it will fork the workers
    ("server", "unfit", report)            its imports left what a fork would break: workers are
                                           started by themselves, from their argv
    ("server", "refused", report)          a module cannot be imported, or the server not be started
                                           ("errno", "program"): no worker is started
    ("server", "lost", report)             it has died; as "unfit", until the next "serve"
    ("swept", hushed, killed, stuck)

``hushed``, ``killed`` and ``stuck`` are lists of ``sweep.Left``: what did not survive the signal of the
stop, what was killed, and what could not die, dead workers' processes all, and workers too.

Between guardian and fork server, in the same frames:

    ("preload", modules, settings, alone, env)    to the server, first of all; ``alone``: it is a spare,
                                           and becomes the worker of its first "start" itself; ``env``
                                           is what its interpreter was started with
    ("start", serial, rank, argv, env, count)     to the server
    ("follow", place)                      the guardian has gone elsewhere
    ("importing", module)
    ("ready", report)  ("unfit", report)  ("refused", report)
    ("forked", [(serial, pid or -errno), …])   with an fd: for each byte that the guardian writes into
                                           it one of those workers begins; its end ends them

``marshal`` encodes them: the peer is our own child over an anonymous socket pair, and it costs no
import. Times are CLOCK_MONOTONIC in ns. Guardian and fork server may be different Pythons.
"""

from __future__ import annotations

import marshal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Message = tuple[Any, ...]

MAIN = "__main__"  # among the modules a fork server speaks of: the launcher's main module

_FORMAT = 4  # of marshal, since Python 3.4; later ones read it
_LENGTH = 4  # bytes of payload length, then one byte that counts the fds
HEADER = _LENGTH + 1


def encode(message: Message, fd_count: int = 0) -> bytes:
    """Return the frame of ``message``, with which ``fd_count`` fds travel (at most 253: SCM_MAX_FD)."""
    body = marshal.dumps(message, _FORMAT)
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
