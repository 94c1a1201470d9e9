"""The hub's keys: each with the revisions of its making and of its value. Pure."""

from __future__ import annotations

from typing import NamedTuple

from procession._hub.frames import frame
from procession._membership.codec import Entry


class Changes(NamedTuple):
    """What has come of keys since somebody asked last."""

    written: list[Entry]
    gone: list[str]

    def below(self, prefix: str) -> Changes:
        """Those of keys that begin so."""
        written = [entry for entry in self.written if entry.name.startswith(prefix)]
        return Changes(written, [name for name in self.gone if name.startswith(prefix)])

    def frame(self) -> bytes:
        """As they are sent; empty where there are none."""
        if not self.written and not self.gone:
            return b""
        return frame({"keys": as_json(self.written), "gone": self.gone})


class Records:
    """Keys and their values."""

    def __init__(self) -> None:
        self._revision = 0
        self._keys: dict[str, Entry] = {}
        self._changed: dict[str, None] = {}  # in the order of their last change

    def put(self, name: str, value: bytes) -> None:
        """Write a key."""
        known = self._keys.get(name)
        self._revision += 1
        created = known.created if known else self._revision
        self._keys[name] = Entry(name, value, created, self._revision)
        self._note(name)

    def replace(self, name: str, value: bytes, modified: int) -> bool:
        """Write a key if its value is of that revision still (0: if it is not there)."""
        known = self._keys.get(name)
        if (known.modified if known else 0) != modified:
            return False
        self.put(name, value)
        return True

    def delete(self, prefix: str) -> None:
        """Remove all keys that begin so."""
        for name in [name for name in self._keys if name.startswith(prefix)]:
            self._revision += 1
            del self._keys[name]
            self._note(name)

    def get(self, name: str) -> Entry | None:
        """A key, None where it is not there."""
        return self._keys.get(name)

    def all(self) -> list[Entry]:
        """Every key."""
        return list(self._keys.values())

    def take_changes(self) -> Changes:
        """What has changed since this was called last."""
        changed, self._changed = self._changed, {}
        written = [self._keys[name] for name in changed if name in self._keys]
        return Changes(written, [name for name in changed if name not in self._keys])

    def _note(self, name: str) -> None:
        self._changed.pop(name, None)
        self._changed[name] = None


def as_json(entries: list[Entry]) -> list[list[str | int]]:
    """Keys as a frame has them."""
    return [[e.name, e.value.decode(), e.created, e.modified] for e in entries]


def from_json(entries: list[list[str | int]]) -> list[Entry]:
    """Keys of a frame.

    Raises:
        ValueError: They are not such.
    """
    return [Entry(str(n), str(v).encode(), int(c), int(m)) for n, v, c, m in entries]
