"""A store whose keys are in etcd (v3), for the agents of a gang over several hosts."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from procession._etcd import messages
from procession._etcd.watch import Watch
from procession.rendezvous.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from procession._etcd.client import Client
    from procession._etcd.settings import Settings

__all__ = ["EtcdStore", "Lasting"]

_TTL = 7200  # seconds that keys outlive the last who has written some; torch's
_RENEWED = 0.25  # of it, after which a write begins it anew


class Lasting:
    """A lease for keys of a run: they go some time after the last host that has written.

    Args:
        client: The way to etcd.
        ttl: Seconds.
    """

    def __init__(self, client: Client, ttl: int = _TTL) -> None:
        self._client = client
        self._ttl = ttl
        self._id = 0
        self._since = 0.0
        self._lock = threading.Lock()

    def id(self) -> int:
        """The lease.

        Raises:
            RendezvousConnectionError: etcd cannot be reached.
        """
        with self._lock:
            if self._id and time.monotonic() - self._since < _RENEWED * self._ttl:
                return self._id
            if not (self._id and self._client.keep_alive(self._id, self._ttl)):
                self._id = self._client.grant(self._ttl)
            self._since = time.monotonic()
            return self._id


class EtcdStore(Store):
    """A store in etcd.

    Args:
        client: The way to etcd, for reading and writing.
        settings: Where etcd is: waiting for keys has a connection of its own.
        prefix: What all keys begin with; it ends in a slash.
        timeout: How long reading waits for a key; 5 min where None.
    """

    def __init__(
        self, client: Client, settings: Settings, prefix: str, timeout: timedelta | None = None
    ) -> None:
        super().__init__(timeout)
        self._client = client
        self._settings = settings
        self._prefix = prefix if prefix.endswith("/") else f"{prefix}/"
        self._lease = Lasting(client)
        self._mark = f"{self._prefix[:-1]}.marks/{os.urandom(8).hex()}"  # of this store's last swap

    def _name(self, key: str) -> str:
        return f"{self._prefix}{quote(key, safe='')}"

    def _look(self, key: str) -> tuple[bytes, Any] | None:
        found = self._client.read(self._name(key)).keys
        return (found[0].value, found[0].modified) if found else None

    def _swap(self, key: str, value: bytes, token: Any) -> bool:
        name, lease, mark = self._name(key), self._lease.id(), os.urandom(8)
        deeds = [messages.put(name, value, lease), messages.put(self._mark, mark, lease)]
        if self._client.transact(deeds, condition=messages.is_of(name, token or 0)):
            return True
        # The client asks again where an answer got lost, and then finds its own write in the way.
        found = self._client.read(self._mark).keys
        return bool(found) and found[0].value == mark

    def _put(self, key: str, value: bytes) -> None:
        self._client.put(self._name(key), value, self._lease.id())

    def _remove(self, key: str) -> bool:
        there = self._look(key) is not None
        self._client.delete(self._name(key))
        return there

    def _names(self) -> list[str]:
        found = self._client.read(self._prefix).keys
        return [unquote(entry.name.removeprefix(self._prefix)) for entry in found]

    def _wait_until(self, met: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        if met():
            return True
        changed = threading.Event()
        watch = Watch(self._settings, (self._prefix,), changed.set, time.monotonic_ns)
        watch.start()
        try:
            while changed.wait(max(deadline - time.monotonic(), 0)):
                changed.clear()
                if met():
                    return True
            return met()
        finally:
            watch.close()
