"""What agents of a gang exchange facts by: torch's ``Store``, without torch."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from procession.errors import RoundOverError, StoreTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["PrefixStore", "Store", "WatchedStore", "waited"]

_NEARLY = 0.9  # of a time: a store may count in coarser units
_LOOK = 2.0  # seconds between two looks at a round
_TIMEOUT = timedelta(seconds=300)  # torch's (torch/csrc/distributed/c10d/Store.hpp)


class Store(ABC):
    """Keys and values, with the methods of torch's; of a kind that its subclass knows to keep.

    Values are bytes; text is encoded as UTF-8. Reading waits for the key, for ``timeout`` at most.
    """

    def __init__(self, timeout: timedelta | None = None) -> None:
        self.timeout = timeout or _TIMEOUT

    # ---- what a kind of store has to know

    @abstractmethod
    def _look(self, key: str) -> tuple[bytes, Any] | None:
        """A value and a token that stands for this very value, None where there is none."""

    @abstractmethod
    def _swap(self, key: str, value: bytes, token: Any) -> bool:
        """Write a value if the one that is there is that of the token (None: if none is there)."""

    @abstractmethod
    def _put(self, key: str, value: bytes) -> None:
        """Write a value."""

    @abstractmethod
    def _remove(self, key: str) -> bool:
        """Remove a key; whether it was there."""

    @abstractmethod
    def _names(self) -> list[str]:
        """All keys."""

    @abstractmethod
    def _wait_until(self, met: Callable[[], bool], seconds: float) -> bool:
        """Sleep until a condition on the keys is met, or the time is over; return the former."""

    # ---- torch's methods

    def set_timeout(self, timeout: timedelta) -> None:
        """Have reading wait so long at most."""
        self.timeout = timeout

    def set(self, key: str, value: bytes | str) -> None:
        """Keep a value."""
        self._put(key, _bytes(value))

    def get(self, key: str) -> bytes:
        """Return a value, once it is there.

        Raises:
            StoreTimeoutError: It is not in time.
        """
        deadline = time.monotonic() + self.timeout.total_seconds()
        while (found := self._look(key)) is None:
            self.wait([key], timedelta(seconds=max(deadline - time.monotonic(), 0)))
        return found[0]

    def add(self, key: str, amount: int) -> int:
        """Add to a number that is 0 at first, and return it."""
        while True:
            found = self._look(key)
            total = (int(found[0]) if found else 0) + amount
            if self._swap(key, str(total).encode(), found[1] if found else None):
                return total

    def append(self, key: str, value: bytes | str) -> None:
        """Add to the end of a value, or begin it."""
        while True:
            found = self._look(key)
            whole = (found[0] if found else b"") + _bytes(value)
            if self._swap(key, whole, found[1] if found else None):
                return

    def compare_set(self, key: str, expected: bytes | str, desired: bytes | str) -> bytes:
        """Write a value if another is there; ``expected`` empty also means that none is.

        Returns:
            What is there then; ``expected`` where nothing is and something was expected.
        """
        wanted, fresh = _bytes(expected), _bytes(desired)
        while True:
            found = self._look(key)
            if found is None and wanted:
                return wanted
            if found is not None and found[0] != wanted:
                return found[0]
            if self._swap(key, fresh, found[1] if found else None):
                return fresh

    def check(self, keys: Sequence[str]) -> bool:
        """Whether all keys are there."""
        return all(self._look(key) is not None for key in keys)

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Wait until all keys are there.

        Args:
            keys: Which.
            timeout: How long at most; the store's where None.

        Raises:
            StoreTimeoutError: They are not in time.
        """
        seconds = (self.timeout if timeout is None else timeout).total_seconds()
        if not self._wait_until(lambda: self.check(keys), seconds):
            raise StoreTimeoutError(f"{', '.join(keys)}: not there after {seconds:g} s")

    def multi_get(self, keys: Sequence[str]) -> list[bytes]:
        """Return several values, once they are there."""
        self.wait(keys)
        return [self.get(key) for key in keys]

    def multi_set(self, keys: Sequence[str], values: Sequence[bytes | str]) -> None:
        """Keep several values."""
        for key, value in zip(keys, values, strict=True):
            self.set(key, value)

    def delete_key(self, key: str) -> bool:
        """Remove a key; whether it was there."""
        return self._remove(key)

    def num_keys(self) -> int:
        """How many keys there are."""
        return len(self._names())

    def has_extended_api(self) -> bool:
        """True: it has ``append``, ``multi_get`` and ``multi_set``."""
        return True


def waited(store: Any, keys: Sequence[str], seconds: float) -> bool:
    """Wait until all keys are there, for so many seconds at most; return whether they are.

    Args:
        store: Has torch's ``wait``.
        keys: Which.
        seconds: How long.

    Raises:
        Exception: What the store raises, whatever it is, where it was not the time that was over.
    """
    began = time.monotonic()
    try:
        store.wait([*keys], timedelta(seconds=seconds))
    except (LookupError, RuntimeError, TimeoutError):  # ours, and torch's, also of other reasons
        if time.monotonic() - began < _NEARLY * seconds:
            raise
        return False
    return True


class WatchedStore:
    """Facts that the hosts of a round tell each other, while it lasts: one that is lost tells nothing more.

    Args:
        store: Where they are.
        is_over: Whether the round is.
    """

    def __init__(self, store: Any, is_over: Callable[[], bool]) -> None:
        self._store = store
        self._is_over = is_over

    def set(self, key: str, value: bytes | str) -> None:
        """Keep a value."""
        self._store.set(key, value)

    def get(self, key: str) -> bytes:
        """Return a value, once it is there.

        Raises:
            RoundOverError: It will not be.
            StoreTimeoutError: It is not in time.
        """
        patience: timedelta = self._store.timeout
        deadline = time.monotonic() + patience.total_seconds()
        while not waited(self._store, [key], _LOOK):
            if self._is_over():
                raise RoundOverError(f"{key}: its host is lost")
            if time.monotonic() >= deadline:
                raise StoreTimeoutError(f"{key}: not there after {patience.total_seconds():g} s")
        return bytes(self._store.get(key))


class PrefixStore:
    """A view of a store in which all keys begin with a prefix; its other settings are the store's.

    Args:
        prefix: What they begin with.
        store: Has torch's methods; those that are called.
    """

    def __init__(self, prefix: str, store: Any) -> None:
        self._prefix = f"{prefix}/"
        self._store = store

    @property
    def underlying_store(self) -> Any:
        """The store."""
        return self._store

    @property
    def timeout(self) -> timedelta:
        """How long reading waits for a key."""
        return self._store.timeout  # type: ignore[no-any-return]

    def set_timeout(self, timeout: timedelta) -> None:
        """Have reading wait so long at most."""
        self._store.set_timeout(timeout)

    def set(self, key: str, value: bytes | str) -> None:
        """Keep a value."""
        self._store.set(self._prefix + key, value)

    def get(self, key: str) -> bytes:
        """Return a value, once it is there."""
        return bytes(self._store.get(self._prefix + key))

    def add(self, key: str, amount: int) -> int:
        """Add to a number that is 0 at first, and return it."""
        return int(self._store.add(self._prefix + key, amount))

    def append(self, key: str, value: bytes | str) -> None:
        """Add to the end of a value, or begin it."""
        self._store.append(self._prefix + key, value)

    def compare_set(self, key: str, expected: bytes | str, desired: bytes | str) -> bytes:
        """Write a value if another is there; see ``Store``."""
        return bytes(self._store.compare_set(self._prefix + key, expected, desired))

    def check(self, keys: Sequence[str]) -> bool:
        """Whether all keys are there."""
        return bool(self._store.check(self._all(keys)))

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Wait until all keys are there."""
        self._store.wait(self._all(keys), *([] if timeout is None else [timeout]))

    def multi_get(self, keys: Sequence[str]) -> list[bytes]:
        """Return several values, once they are there."""
        return list(self._store.multi_get(self._all(keys)))

    def multi_set(self, keys: Sequence[str], values: Sequence[bytes | str]) -> None:
        """Keep several values."""
        self._store.multi_set(self._all(keys), values)

    def delete_key(self, key: str) -> bool:
        """Remove a key; whether it was there."""
        return bool(self._store.delete_key(self._prefix + key))

    def num_keys(self) -> int:
        """How many keys the store has, with and without the prefix; as torch's."""
        return int(self._store.num_keys())

    def has_extended_api(self) -> bool:
        """Whether the store has ``append``, ``multi_get`` and ``multi_set``."""
        return bool(self._store.has_extended_api())

    def _all(self, keys: Sequence[str]) -> list[str]:
        return [self._prefix + key for key in keys]


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)
