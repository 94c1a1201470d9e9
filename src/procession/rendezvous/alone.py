"""One host alone: there is nobody to meet, whatever the kind of rendezvous."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from procession._os.ports import free_port
from procession.errors import RendezvousClosedError, RendezvousTimeoutError
from procession.rendezvous.api import RendezvousHandler, RendezvousInfo, RendezvousStoreInfo

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

__all__ = ["Alone", "LocalStore", "PrefixStore"]


class LocalStore:
    """As much of torch's ``Store`` as agents use, for those of one process."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}
        self._changed = threading.Condition()

    def set(self, key: str, value: bytes | str) -> None:
        """Keep a value."""
        with self._changed:
            self._kept[key] = value.encode() if isinstance(value, str) else value
            self._changed.notify_all()

    def get(self, key: str) -> bytes:
        """Return a value, once it is there."""
        with self._changed:
            self._changed.wait_for(lambda: key in self._kept)
            return self._kept[key]

    def add(self, key: str, amount: int) -> int:
        """Add to a number that is 0 at first, and return it."""
        with self._changed:
            total = int(self._kept.get(key, b"0")) + amount
            self._kept[key] = str(total).encode()
            self._changed.notify_all()
            return total

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Wait until all keys are there.

        Raises:
            RendezvousTimeoutError: They are not in time.
        """
        seconds = None if timeout is None else timeout.total_seconds()
        with self._changed:
            if not self._changed.wait_for(lambda: all(k in self._kept for k in keys), seconds):
                raise RendezvousTimeoutError(f"{', '.join(keys)}: not there after {seconds} s")


class PrefixStore:
    """A view of a store in which all keys begin with a prefix.

    Args:
        prefix: What they begin with.
        store: Has the methods of ``LocalStore``.
    """

    def __init__(self, prefix: str, store: Any) -> None:
        self._prefix = prefix
        self._store = store

    def set(self, key: str, value: bytes | str) -> None:
        """Keep a value."""
        self._store.set(self._name(key), value)

    def get(self, key: str) -> bytes:
        """Return a value, once it is there."""
        return bytes(self._store.get(self._name(key)))

    def add(self, key: str, amount: int) -> int:
        """Add to a number that is 0 at first, and return it."""
        return int(self._store.add(self._name(key), amount))

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Wait until all keys are there."""
        self._store.wait([self._name(key) for key in keys], timeout)

    def _name(self, key: str) -> str:
        return f"{self._prefix}/{key}"


class Alone(RendezvousHandler):
    """A rendezvous of one host.

    Args:
        backend: The kind that was asked for.
        run_id: The run's id.
        address: Where its workers meet.
        port: At which port; a free one, another each time, where None.
    """

    def __init__(self, backend: str, run_id: str, address: str, port: int | None = None) -> None:
        self._backend = backend
        self._run_id = run_id
        self._address = address
        self._port = port
        self._closed = False

    @property
    def nobody_can_join(self) -> bool:
        """True."""
        return True

    def get_backend(self) -> str:
        """Return the kind that was asked for."""
        return self._backend

    def next_rendezvous(self) -> RendezvousInfo:
        """Return at once.

        Raises:
            RendezvousClosedError: ``set_closed`` or ``shutdown`` was called.
        """
        if self._closed:
            raise RendezvousClosedError(f"the run {self._run_id} is over")
        where = RendezvousStoreInfo(self._address, self._port or free_port())
        return RendezvousInfo(LocalStore(), 0, 1, where)

    def is_closed(self) -> bool:
        """Whether ``set_closed`` or ``shutdown`` was called."""
        return self._closed

    def set_closed(self) -> None:
        """Have the next rendezvous refused."""
        self._closed = True

    def num_nodes_waiting(self) -> int:
        """Return 0."""
        return 0

    def get_run_id(self) -> str:
        """Return the run's id."""
        return self._run_id

    def shutdown(self) -> bool:
        """Have the next rendezvous refused; returns True."""
        self._closed = True
        return True
