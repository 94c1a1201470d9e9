"""One host alone: there is nobody to meet, whatever the kind of rendezvous."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from procession._os.ports import free_port
from procession.errors import RendezvousClosedError
from procession.rendezvous.api import RendezvousHandler, RendezvousInfo, RendezvousStoreInfo
from procession.rendezvous.store import PrefixStore, Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

__all__ = ["Alone", "LocalStore", "PrefixStore"]


class LocalStore(Store):
    """A store for the agents of one process.

    Args:
        timeout: How long reading waits for a key; 5 min where None.
    """

    def __init__(self, timeout: timedelta | None = None) -> None:
        super().__init__(timeout)
        self._kept: dict[str, bytes] = {}
        self._changed = threading.Condition()

    def _look(self, key: str) -> tuple[bytes, Any] | None:
        found = self._kept.get(key)
        return None if found is None else (found, found)

    def _swap(self, key: str, value: bytes, token: Any) -> bool:
        with self._changed:
            if self._kept.get(key) != token:
                return False
            self._put(key, value)
            return True

    def _put(self, key: str, value: bytes) -> None:
        with self._changed:
            self._kept[key] = value
            self._changed.notify_all()

    def _remove(self, key: str) -> bool:
        with self._changed:
            return self._kept.pop(key, None) is not None

    def _names(self) -> list[str]:
        with self._changed:
            return list(self._kept)

    def _wait_until(self, met: Callable[[], bool], seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(met, seconds)


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
