"""Keys, kept as they change: over any member, from where the last one stopped."""

from __future__ import annotations

import http.client
import json
import threading
from typing import TYPE_CHECKING, Any

from procession._etcd import messages
from procession._etcd.client import authenticate, tls_context
from procession._etcd.wire import EtcdError, Wire
from procession._log import Logger
from procession.errors import ProcessionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from procession._etcd.settings import Settings
    from procession._membership.codec import Entry

logger = Logger(__name__)

_PAUSE = 0.2  # seconds between two members that did not do
# A member that is cut off from the others would otherwise keep the stream open and say nothing.
_HAS_LEADER = {"Grpc-Metadata-hasleader": "true"}


class _CompactedError(Exception):
    """What happened meanwhile has been forgotten: all keys have to be read again."""


class Watch(threading.Thread):
    """A thread that follows keys.

    Args:
        settings: Where etcd is.
        names: Of the keys; those that end in a slash are prefixes. What is heard of the first is
            what ``heard`` speaks of.
        tell: Called in this thread after every change.
        clock: What a key's time of reading is taken from, ns.
    """

    def __init__(
        self,
        settings: Settings,
        names: Sequence[str],
        tell: Callable[[], None],
        clock: Callable[[], int],
    ) -> None:
        super().__init__(name="procession-etcd-watch", daemon=True)
        self._settings = settings
        self._names = tuple(names)
        self._tell = tell
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, Entry] = {}
        self._read: tuple[str, ...] = ()  # what these are all keys of
        # Of each name the revision up to which it is known; none where all has to be read. Each has
        # its own: etcd may be behind with one of a stream's watches while it goes on with another.
        self._known: list[int] = []
        self._ids: list[int] = []  # that etcd has given to the stream's watches, in their order
        self._tls = tls_context(settings)
        self._wire: Wire | None = None
        self._closed = threading.Event()
        self._roused = threading.Event()

    def keys(self) -> tuple[tuple[str, ...], tuple[Entry, ...]]:
        """Names, and all keys of these; after ``follow`` still the old ones, until the new are read."""
        with self._lock:
            return self._read, tuple(self._keys.values())

    def heard(self) -> tuple[str, int]:
        """The first name, and the revision up to which it is known, 0 where it is not yet."""
        with self._lock:
            return self._names[0], self._known[0] if self._known else 0

    def is_current(self, name: str, revision: int) -> None:
        """Take note that nothing has happened to the first name up to that revision."""
        with self._lock:
            if self._known and self._names[0] == name:
                self._known[0] = max(self._known[0], revision)

    def follow(self, names: Sequence[str]) -> None:
        """Follow other keys from now on."""
        with self._lock:
            if self._names == tuple(names):
                return
            self._names, self._known = tuple(names), []
        self.rouse()

    def run(self) -> None:
        """Follow the keys until ``close``."""
        turn = 0
        while not self._closed.is_set():
            endpoint = self._settings.endpoints[turn % len(self._settings.endpoints)]
            self._roused.clear()
            self._wire = Wire(endpoint, self._settings.timeout, self._tls)
            try:
                self._follow(self._wire)
            except _CompactedError:
                self._known = []
            except (OSError, http.client.HTTPException, ProcessionError) as error:
                logger.debug("watching by %s: %s", endpoint, error)
                self._roused.wait(_PAUSE)
            finally:
                self._wire.close()
            turn += 1

    def rouse(self) -> None:
        """Go to the next member: this one is silent about what others have said."""
        self._roused.set()
        wire = self._wire
        if wire is not None:
            wire.shut()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self.rouse()
        self.join()

    def _follow(self, wire: Wire) -> None:
        headers = dict(_HAS_LEADER)
        if self._settings.user:
            headers["Authorization"] = authenticate(wire, self._settings)
        if not self._known:
            self._read_all(wire, headers)
        with self._lock:
            self._ids, asked = [], list(zip(self._names, self._known, strict=False))
        creations = [
            {"create_request": {**messages.key_range(name), "start_revision": str(known + 1)}}
            for name, known in asked
        ]
        # Each watch begins with a result, so that nobody waits here who was roused before.
        for result in _results(wire.request("/v3/watch", creations, headers), wire):
            if self._closed.is_set() or not self._known:
                return
            self._take(result)

    def _read_all(self, wire: Wire, headers: dict[str, str]) -> None:
        names = self._names
        asked = {"success": [messages.read(name) for name in names]}
        found = wire.call("/v3/kv/txn", asked, headers)
        with self._lock:
            if self._names != names:
                return
            self._keys = {key.name: self._heard(key) for key in messages.keys_read(found)}
            self._known = [int(found["header"]["revision"])] * len(names)
            self._read = names
        self._tell()

    def _take(self, result: dict[str, Any]) -> None:
        if result.get("canceled"):
            if result.get("compact_revision"):
                raise _CompactedError
            raise EtcdError(f"the watch was ended: {result.get('cancel_reason', 'no reason')}")
        watch_id, revision = int(result.get("watch_id", 0)), int(result["header"]["revision"])
        if result.get("created"):
            self._ids.append(watch_id)
            return
        events = result.get("events", ())
        with self._lock:
            if not self._known:
                return
            for event in events:
                self._apply(event)
            which = self._ids.index(watch_id)
            self._known[which] = max(self._known[which], revision)
        if events:
            self._tell()

    def _apply(self, event: dict[str, Any]) -> None:
        if event.get("type") == "DELETE":
            self._keys.pop(messages.key_name(event["kv"]), None)
        else:
            key = self._heard(messages.read_key(event["kv"]))
            self._keys[key.name] = key

    def _heard(self, key: Entry) -> Entry:
        return key._replace(heard=self._clock())


def _results(response: http.client.HTTPResponse, wire: Wire) -> Iterator[dict[str, Any]]:
    """What a stream says, one line each; TCP's keepalive finds a link that was cut."""
    if response.status != http.client.OK:
        raise EtcdError(f"HTTP status {response.status}: {response.read(500)!r}")
    wire.set_timeout(None)
    while line := response.readline():
        said = json.loads(line)
        if "error" in said:
            error = said["error"]
            raise EtcdError(str(error.get("message", error)), int(error.get("grpc_code", 2)))
        yield said["result"]
