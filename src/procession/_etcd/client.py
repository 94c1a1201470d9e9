"""Requests to a cluster: whichever member answers will do."""

from __future__ import annotations

import http.client
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from procession._etcd import messages
from procession._etcd.mistakes import Problem, problem, refused
from procession._etcd.wire import EtcdError, Wire
from procession.errors import ProcessionError, UsageError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from procession._etcd.settings import Settings
    from procession._membership.codec import Entry
    from procession._store.endpoint import Endpoint

NOT_FOUND = 5
_UNAUTHENTICATED = 16
_DENIED = {3, 7}  # invalid argument (etcd's word for a wrong password), permission denied
# A member that is cut off or starting, or a cluster without a leader: another may do better.
_FULL = 8
_ELSEWHERE = {4, _FULL, 13, 14}  # deadline, resources, internal, unavailable


class Range(NamedTuple):
    """Keys, how many there are, and the revision of the store at which that was so."""

    keys: tuple[Entry, ...]
    total: int
    revision: int


class Client:
    """Speaks to one member after the other until one answers. One thread at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tls = tls_context(settings)
        self._wire: Wire | None = None
        self._turn = 0
        self._token = ""
        self._lock = threading.Lock()
        self.revision = 0  # of the store, as the last answer said

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._drop()

    def local_address(self) -> str:
        """This host's address on the way to the member that answers.

        Raises:
            EtcdError: None does.
        """
        with self._lock:
            return str(self._somewhere(_address, self._settings.timeout))

    # ---- keys

    def put(self, name: str, value: bytes, lease: int = 0) -> None:
        """Write a key; it goes when the lease does."""
        self.call("/v3/kv/put", messages.put_body(name, value, lease))

    def create(self, name: str, value: bytes, lease: int = 0) -> bool:
        """Write a key that is not there; False if it is."""
        return self.replace(name, value, 0, lease)

    def replace(self, name: str, value: bytes, modified: int, lease: int = 0) -> bool:
        """Write a key if its value is of that revision still (0: if it is not there).

        An answer that gets lost may hide a write: who is told False looks at the key.
        """
        return self.transact(
            [messages.put(name, value, lease)], condition=messages.is_of(name, modified)
        )

    def transact(
        self,
        then: list[dict[str, Any]],
        otherwise: list[dict[str, Any]] | None = None,
        *,
        condition: dict[str, str] | None = None,
    ) -> bool:
        """Do all at once, or, where the condition does not hold, what is to be done otherwise."""
        body = {
            "compare": [condition] if condition else [],
            "success": then,
            "failure": otherwise or [],
        }
        return bool(self.call("/v3/kv/txn", body).get("succeeded", False))

    def read(self, name: str, limit: int = 0) -> Range:
        """Read a key, or all keys below a prefix that ends in a slash.

        Args:
            name: The key or prefix.
            limit: How many keys at most; 0 for all.
        """
        found = self.call("/v3/kv/range", {**messages.key_range(name), "limit": str(limit)})
        keys = tuple(messages.read_key(kv) for kv in found.get("kvs", ()))
        return Range(keys, int(found.get("count", 0)), int(found["header"]["revision"]))

    def changed_since(self, name: str, revision: int) -> bool:
        """Whether a key, or one below a prefix, has been written after that revision."""
        asked = {"min_mod_revision": str(revision + 1), "limit": "1", "keys_only": True}
        return bool(self.call("/v3/kv/range", {**messages.key_range(name), **asked}).get("kvs"))

    def delete(self, name: str) -> None:
        """Remove a key, or all keys below a prefix."""
        self.call("/v3/kv/deleterange", dict(messages.key_range(name)))

    # ---- leases

    def grant(self, ttl: int) -> int:
        """Get a lease of so many seconds."""
        return int(self.call("/v3/lease/grant", {"TTL": str(ttl)})["ID"])

    def keep_alive(self, lease: int, timeout: float) -> int:
        """Begin the lease's time anew; return how many seconds it has, 0 if it is gone."""
        found = self.call("/v3/lease/keepalive", {"ID": str(lease)}, timeout)
        return max(int(found.get("result", {}).get("TTL", 0)), 0)

    def revoke(self, lease: int) -> None:
        """End a lease, and with it its keys; one that has run out is no error."""
        try:
            self.call("/v3/lease/revoke", {"ID": str(lease)})
        except EtcdError as error:
            if error.code != NOT_FOUND:
                raise

    # ---- asking

    def call(self, path: str, body: dict[str, Any], timeout: float | None = None) -> dict[str, Any]:
        """Ask one member after the other.

        Args:
            path: The gateway's.
            body: The request.
            timeout: Seconds for all members together; each gets a share, and the settings' time at
                most.

        Raises:
            EtcdError: No member has answered, or one would not do it.
        """
        with self._lock:
            limit = timeout or self._settings.timeout * len(self._settings.endpoints)
            found: dict[str, Any] = self._somewhere(
                lambda wire: self._asked(wire, path, body), limit
            )
        header = found.get("header") or found.get("result", {}).get("header", {})
        self.revision = max(self.revision, int(header.get("revision", 0)))
        return found

    def _somewhere(self, deed: Callable[[Wire], Any], limit: float) -> Any:
        until = time.monotonic() + limit
        problems: dict[Endpoint, Problem] = {}
        members = len(self._settings.endpoints)
        for tried in range(2 * members):  # a kept connection may be stale
            left = until - time.monotonic()
            if left <= 0:
                break
            endpoint = self._settings.endpoints[self._turn]
            try:
                # A share each, so that one that is silent leaves time for the others.
                return deed(self._connected(endpoint, left / max(members - tried, 1)))
            except EtcdError as error:
                if error.code not in _ELSEWHERE:
                    raise
                problems[endpoint] = Problem(str(error), is_full=error.code == _FULL)
            except (OSError, http.client.HTTPException) as error:
                connected = self._wire is not None and self._wire.is_open
                problems[endpoint] = problem(error, endpoint, self._settings, connected=connected)
            self._go_elsewhere()
        raise _nobody_answers(list(problems.values()))

    def _asked(self, wire: Wire, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            return wire.call(path, body, self._headers(wire))
        except EtcdError as error:
            mistake = refused(error.code, str(error), self._settings)
            if mistake:
                raise UsageError(mistake) from None
            if error.code != _UNAUTHENTICATED or not self._settings.user:
                raise
            self._token = ""  # it has run out, or the member was restarted
            return wire.call(path, body, self._headers(wire))

    def _headers(self, wire: Wire) -> dict[str, str]:
        if self._settings.user and not self._token:
            self._token = authenticate(wire, self._settings)
        return {"Authorization": self._token} if self._token else {}

    def _connected(self, endpoint: Endpoint, left: float) -> Wire:
        timeout = min(self._settings.timeout, left)
        if self._wire is None:
            self._wire = Wire(endpoint, timeout, self._tls)
        self._wire.set_timeout(timeout)
        return self._wire

    def _go_elsewhere(self) -> None:
        self._drop()
        self._token = ""
        self._turn = (self._turn + 1) % len(self._settings.endpoints)

    def _drop(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()


def _nobody_answers(problems: list[Problem]) -> ProcessionError:
    """What all members together come to; that of one is no matter while another answers."""
    said = "; ".join(each.text for each in problems) or "no member in time"
    if problems and all(each.is_mistake for each in problems):
        return UsageError(f"etcd: {said}")
    full = any(each.is_full for each in problems)
    return EtcdError(f"etcd {'takes nothing' if full else 'does not answer'}: {said}")


def authenticate(wire: Wire, settings: Settings) -> str:
    """Get a token for the user.

    Raises:
        UsageError: etcd does not know the user by that password.
    """
    body = {"name": settings.user, "password": str(settings.password)}
    try:
        return str(wire.call("/v3/auth/authenticate", body, {})["token"])
    except EtcdError as error:
        if error.code in _DENIED:
            raise UsageError(
                f"etcd does not let {settings.user} in: {error}. Check ETCDCTL_USER and "
                "ETCDCTL_PASSWORD, or user= and password_file= of --rdzv-conf."
            ) from None
        raise


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """What TLS needs, None without it.

    Raises:
        UsageError: A file cannot be read or holds no certificate.
    """
    if not settings.tls:
        return None
    import ssl

    path = settings.cacert
    try:
        context = ssl.create_default_context(cafile=path or None)
        if settings.cert:
            path = f"{settings.cert} with {settings.key}"
            context.load_cert_chain(settings.cert, settings.key, password=_no_password)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(
            f"etcd's TLS, {path}: {error.strerror or error}. Give PEM files: cacert=PATH, cert=PATH "
            "and key=PATH in --rdzv-conf, or ETCDCTL_CACERT, ETCDCTL_CERT and ETCDCTL_KEY."
        ) from error
    return context


def _no_password() -> str:
    """OpenSSL would ask the terminal."""
    raise UsageError(
        "etcd's TLS: the client's key is encrypted. Give one that is not, in a file that only you can "
        "read: openssl pkey -in KEY -out PLAIN"
    )


def _address(wire: Wire) -> str:
    wire.open()
    return wire.address
