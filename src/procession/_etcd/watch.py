"""All keys below a prefix, kept as they change: over any member, from where the last one stopped."""

from __future__ import annotations

import http.client
import json
import threading
from typing import TYPE_CHECKING, Any

from procession._etcd.client import authenticate, read_key, tls_context
from procession._etcd.wire import EtcdError, Wire, decoded, prefix_range
from procession._log import Logger
from procession.errors import ProcessionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from procession._etcd.settings import Settings
    from procession._membership.codec import Entry

logger = Logger(__name__)

_PAUSE = 0.2  # seconds between two members that did not do
# A member that is cut off from the others would otherwise keep the stream open and say nothing.
_HAS_LEADER = {"Grpc-Metadata-hasleader": "true"}


class _CompactedError(Exception):
    """What happened meanwhile has been forgotten: all keys have to be read again."""


class Watch(threading.Thread):
    """A thread that hands on all keys below a prefix after every change.

    Args:
        settings: Where etcd is.
        prefix: What the keys begin with.
        tell: Takes all keys by name, in this thread.
    """

    def __init__(
        self, settings: Settings, prefix: str, tell: Callable[[dict[str, Entry]], None]
    ) -> None:
        super().__init__(name="procession-etcd-watch", daemon=True)
        self._settings = settings
        self._prefix = prefix
        self._tell = tell
        self._keys: dict[str, Entry] = {}
        self._tls = tls_context(settings)
        self._wire: Wire | None = None
        self._closed = threading.Event()
        self.revision = 0  # up to which the keys are known; 0 where they have to be read

    def run(self) -> None:
        """Follow the keys until ``close``."""
        turn = 0
        while not self._closed.is_set():
            endpoint = self._settings.endpoints[turn % len(self._settings.endpoints)]
            self._wire = Wire(endpoint, self._settings.timeout, self._tls)
            try:
                self._follow(self._wire)
            except _CompactedError:
                self.revision = 0
            except (OSError, http.client.HTTPException, ProcessionError) as error:
                logger.debug("watching by %s: %s", endpoint, error)
                self._closed.wait(_PAUSE)
            finally:
                self._wire.close()
            turn += 1

    def rouse(self) -> None:
        """Go to the next member: this one is silent about what others have said."""
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
        if not self.revision:
            self._read_all(wire, headers)
        asked = {**prefix_range(self._prefix), "start_revision": str(self.revision + 1)}
        response = wire.request("/v3/watch", {"create_request": asked}, headers)
        for result in _results(response, wire):
            if self._closed.is_set():
                return
            self._take(result)

    def _read_all(self, wire: Wire, headers: dict[str, str]) -> None:
        found = wire.call("/v3/kv/range", dict(prefix_range(self._prefix)), headers)
        keys = [read_key(kv) for kv in found.get("kvs", ())]
        self._keys = {key.name: key for key in keys}
        self.revision = int(found["header"]["revision"])
        self._tell(self._keys)

    def _take(self, result: dict[str, Any]) -> None:
        if result.get("canceled"):
            if result.get("compact_revision"):
                raise _CompactedError
            raise EtcdError(f"the watch was ended: {result.get('cancel_reason', 'no reason')}")
        events = result.get("events", ())
        for event in events:
            name = decoded(event["kv"]["key"]).decode(errors="replace")
            if event.get("type") == "DELETE":
                self._keys.pop(name, None)
            else:
                self._keys[name] = read_key(event["kv"])
        self.revision = max(self.revision, int(result["header"]["revision"]))
        if events:
            self._tell(self._keys)


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
