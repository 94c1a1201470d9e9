"""What is said to the hub and by it: four bytes of length, then a JSON object. Pure.

A host begins with a hello and gets a welcome, another port to go to, or a refusal; then it asks, each
time with a number, and is told what it has asked for up to which number, and of all keys that change.

    host   {"hello": 1, "run": ..., "nnodes": ..., "id": ..., "name": ..., "member": ..., "lease": s}
    hub    {"welcome": life, "keys": [[name, value, created, modified], ...]}
           {"go": port}  {"refused": text}  {"lost": text}
    host   {"n": 1, "put": [name, value], "create": name}  {"n": 2, "create": name, "value": text}
           {"n": 3, "replace": [name, value, modified], "forget": [prefix, ...], "put": [name, value]}
           {"n": 4, "leave": true}  {"alive": 7}  {"roll": 16}
    hub    {"done": 4}  {"alive": 7}  {"keys": [...], "gone": [name, ...]}  {"lost": text}
           {"roll": [[name, value, created, modified], ...], "total": 40}

The host whose hub it is leads, and is told of every key; the others of those under ``now/``, and of
their own.
"""

from __future__ import annotations

import json
from typing import Any

from procession.errors import RendezvousConnectionError

PROTOCOL = 1
STRANGERS = 64 * 1024  # bytes of a frame, before a host has been let in
LIMIT = 64 * 1024 * 1024  # bytes of one, after


class FrameError(RendezvousConnectionError):
    """What came is no frame: somebody else speaks here."""


def frame(said: dict[str, Any]) -> bytes:
    """An object as it is sent."""
    data = json.dumps(said, separators=(",", ":")).encode()
    return len(data).to_bytes(4, "big") + data


class Unframer:
    """Makes objects of bytes as they come.

    Attributes:
        limit: Bytes of a frame; more is nothing that anybody here would say.
    """

    def __init__(self, limit: int = STRANGERS) -> None:
        self.limit = limit
        self._data = bytearray()

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Return the objects that are complete now.

        Raises:
            FrameError: These bytes are not of this protocol.
        """
        self._data += data
        found, at = [], 0
        while len(self._data) - at >= 4:
            end = at + 4 + int.from_bytes(self._data[at : at + 4], "big")
            if end - at > self.limit:
                raise FrameError("it does not speak procession's protocol")
            if len(self._data) < end:
                break
            found.append(_object(bytes(self._data[at + 4 : end])))
            at = end
        del self._data[:at]
        return found


def _object(data: bytes) -> dict[str, Any]:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise FrameError("it does not speak procession's protocol")
    return said
