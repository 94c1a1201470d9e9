"""One member's HTTP connection, and what it answers."""

from __future__ import annotations

import http.client
import json
import socket
from typing import TYPE_CHECKING, Any

from procession.errors import RendezvousConnectionError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from procession._store.endpoint import Endpoint

# A link that was cut sends no FIN: without these a stream over it would be read for ever.
_KEEPALIVE = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 1),  # seconds
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 1),  # seconds
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 4000),  # milliseconds (tcp(7))
)


class EtcdError(RendezvousConnectionError):
    """etcd could not be asked, or would not answer.

    Attributes:
        code: gRPC's status code, 14 (unavailable) where nobody was reached.
    """

    def __init__(self, message: str, code: int = 14) -> None:
        super().__init__(message)
        self.code = code


class Wire:
    """A connection to one member, opened by the first request."""

    def __init__(
        self, endpoint: Endpoint, timeout: float | None, context: ssl.SSLContext | None
    ) -> None:
        self._endpoint = endpoint
        self.is_open = False  # TLS, where it is spoken, has been agreed on
        self._connection: http.client.HTTPConnection
        if context is None:
            self._connection = http.client.HTTPConnection(*endpoint, timeout=timeout)
        else:
            self._connection = http.client.HTTPSConnection(
                *endpoint, timeout=timeout, context=context
            )

    def open(self) -> None:
        """Connect, if that has not been done.

        Raises:
            OSError: The member cannot be reached.
        """
        if self._connection.sock is not None:
            return
        self._connection.connect()
        sock: Any = self._connection.sock
        for level, option, value in _KEEPALIVE:
            if hasattr(socket, option):
                sock.setsockopt(level, getattr(socket, option), value)
        self.is_open = True

    def set_timeout(self, timeout: float | None) -> None:
        """Let each wait for the member take so many seconds at most, None for no limit."""
        self._connection.timeout = timeout
        if self._connection.sock is not None:
            self._connection.sock.settimeout(timeout)

    @property
    def address(self) -> str:
        """This host's address on the way to the member."""
        return str(self._connection.sock.getsockname()[0])

    def request(
        self, path: str, bodies: Iterable[dict[str, Any]], headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        """Post a request; a stream takes several bodies in one.

        Raises:
            OSError: The member cannot be reached or does not answer in time.
            http.client.HTTPException: What answers does not speak HTTP.
        """
        self.open()
        data = "".join(map(json.dumps, bodies)).encode()
        self._connection.request("POST", path, data, headers)
        return self._connection.getresponse()

    def call(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        """Post a request and read its answer.

        Raises:
            EtcdError: The member would not do it.
            OSError: It cannot be reached or does not answer in time.
            http.client.HTTPException: What answers does not speak HTTP.
        """
        response = self.request(path, [body], headers)
        return answer(response.status, response.read(), str(self._endpoint))

    def shut(self) -> None:
        """Break the connection off, whoever reads from it; to be closed by them."""
        sock = self._connection.sock
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is broken already

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def answer(status: int, data: bytes, who: str) -> dict[str, Any]:
    """Read what a member has answered. Pure.

    Raises:
        EtcdError: An error, or nothing that etcd says.
    """
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        said = data[:200].decode(errors="replace").strip()
        raise EtcdError(f"{who} does not answer as etcd does (HTTP status {status}): {said!r}")
    error = found.get("error")
    if error is None and status == http.client.OK:
        return found
    detail = error if isinstance(error, dict) else found  # a stream wraps it, a call does not
    message = detail.get("message") or detail.get("error") or f"HTTP status {status}"
    code = detail.get("code", detail.get("grpc_code", 2))
    raise EtcdError(f"{who}: {message}", int(code or 2))
