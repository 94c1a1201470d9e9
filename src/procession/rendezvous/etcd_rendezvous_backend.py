"""A rendezvous at etcd (v3), for agents in the library; nothing has to be installed for it."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from procession._etcd.access import settings_for
from procession._etcd.client import Client
from procession._etcd.watch import Watch
from procession.errors import UsageError
from procession.rendezvous.dynamic_rendezvous import RendezvousBackend
from procession.rendezvous.etcd_store import EtcdStore, Lasting

if TYPE_CHECKING:
    from procession._etcd.settings import Settings
    from procession._membership.codec import Entry
    from procession.rendezvous.api import RendezvousParameters
    from procession.rendezvous.dynamic_rendezvous import Token

__all__ = ["EtcdRendezvousBackend", "create_backend"]

# torch's settings of its etcd backend, and ours.
_TORCHS = {"ssl_cert": "cert", "ssl_cert_key": "key", "ca_cert": "cacert"}
_OURS = ("cacert", "cert", "key", "user", "password", "password_file", "tls", "request_timeout")


class EtcdRendezvousBackend(RendezvousBackend):
    """The state in a key of etcd.

    Args:
        client: The way to etcd, for reading and writing.
        settings: Where etcd is: a watch has a connection of its own.
        run_id: The run's id.
        name: The name that this kind of backend was asked for by.

    Raises:
        UsageError: The run id is empty. (A ``ValueError``.)
    """

    def __init__(
        self, client: Client, settings: Settings, run_id: str, name: str = "etcd-v2"
    ) -> None:
        if not run_id:
            raise UsageError("the run id is empty: give the run a name")
        self._client = client
        self._name = name
        self._key = f"{_run_prefix(run_id)}state"
        self._lease = Lasting(client)
        self._changed = threading.Event()
        self._settings = settings
        self._watch: Watch | None = None
        self._newest: tuple[bytes, int] | None = (
            None  # of what was read here, whatever the watch knows
        )
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The name that this kind of backend was asked for by."""
        return self._name

    def address(self) -> str:
        """This host's address on the way to etcd.

        Raises:
            RendezvousConnectionError: etcd cannot be reached.
        """
        return self._client.local_address()

    def get_state(self) -> tuple[bytes, Token] | None:
        """Return the state and its token."""
        found = _state(self._client.read(self._key).keys)
        with self._lock:
            if found is not None and (self._newest is None or found[1] >= self._newest[1]):
                self._newest = found
        return found

    def set_state(
        self, state: bytes, token: Token | None = None
    ) -> tuple[bytes, Token, bool] | None:
        """Write the state if the one that is there is that of the token."""
        revision = token if isinstance(token, int) else 0
        written = self._client.replace(self._key, state, revision, self._lease.id())
        found = self.get_state()
        if found is None:
            return None
        return *found, written or found[0] == state  # an answer that got lost hides a write

    def glance(self) -> tuple[bytes, Token] | None:
        """Return the state as etcd has told it lately, and never an older one than was returned before.

        The watch may be behind what was read: who has just got a seat would be seen waiting for it.
        """
        found, newest = _state(self._watched().keys()[1]), self._newest
        if found is None:
            return self.get_state()
        return newest if newest is not None and newest[1] > found[1] else found

    def wait_for_change(self, seconds: float) -> None:
        """Sleep until the state has changed, or so many seconds are over."""
        self._watched()
        self._changed.wait(seconds)
        self._changed.clear()

    def close(self) -> None:
        """Let go of the connections."""
        with self._lock:
            watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()
        self._client.close()

    def _watched(self) -> Watch:
        with self._lock:
            if self._watch is None:
                self._watch = Watch(
                    self._settings, (self._key,), self._changed.set, time.monotonic_ns
                )
                self._watch.start()
            return self._watch


def _run_prefix(run_id: str) -> str:
    """What the keys of a run's rendezvous begin with; not those of a run of the command."""
    return f"/procession-rendezvous/{quote(run_id, safe='')}/"


def create_backend(params: RendezvousParameters) -> tuple[EtcdRendezvousBackend, EtcdStore]:
    """Make a backend.

    Args:
        params: ``endpoint`` names members of etcd, ``HOST[:PORT]``, between semicolons. Settings:
            ``cacert``, ``cert``, ``key``, ``user``, ``password_file``, ``tls``, ``request_timeout`` (as
            ``--rdzv-conf`` of the command), or torch's ``protocol``, ``ssl_cert``, ``ssl_cert_key``,
            ``ca_cert``; what is not said is taken from etcdctl's variables.

    Returns:
        The backend and a store.

    Raises:
        UsageError: One of them cannot be. (A ``ValueError``.)
    """
    settings = settings_for(params.endpoint, _conf(params), os.environ)
    client = Client(settings)
    backend = EtcdRendezvousBackend(client, settings, params.run_id, params.backend)
    return backend, EtcdStore(client, settings, f"{_run_prefix(params.run_id)}store/")


def _conf(params: RendezvousParameters) -> dict[str, str]:
    """Settings for etcd of those of a rendezvous."""
    given = {ours: params.get(theirs) for theirs, ours in _TORCHS.items()}
    given |= {name: params.get(name, given.get(name)) for name in _OURS}
    if str(params.get("protocol", "")).strip().lower() == "https":
        given.setdefault("tls", None)
        given["tls"] = given["tls"] or "true"
    return {name: str(value) for name, value in given.items() if value is not None}


def _state(entries: tuple[Entry, ...]) -> tuple[bytes, int] | None:
    return (entries[0].value, entries[0].modified) if entries else None
