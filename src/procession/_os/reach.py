"""Names and addresses of this host and of others."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Any

__all__ = ["address_towards", "addresses", "full_name", "is_loopback", "is_this_host"]


def addresses(host: str, port: int) -> list[tuple[int, Any]]:
    """Look a name up: address families and what ``bind`` and ``connect`` take, the best first.

    Args:
        host: A name or an address; empty for all addresses of this host.
        port: The port.

    Raises:
        OSError: It cannot be found (``socket.gaierror``).
    """
    flags = socket.AI_PASSIVE if not host else 0
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]


def is_loopback(host: str) -> bool:
    """Whether a name or an address says by itself that it is of no use to other hosts."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def full_name() -> str:
    """This host's name with its domain, where it has one."""
    return socket.getfqdn()


def is_this_host(host: str) -> bool:
    """Whether ``host`` can be bound here, which is asked of the kernel; False if it cannot be found."""
    try:
        found = addresses(host, 0) if host else []
    except OSError:
        return False
    return any(_can_bind(family, address) for family, address in found)


def address_towards(host: str, port: int) -> str:
    """This host's address on the way to another, by its routes: nothing is sent (udp(7)).

    Raises:
        OSError: The other cannot be found, or there is no way.
    """
    error: OSError = OSError(errno.ENETUNREACH, "no route")
    for family, address in addresses(host, port):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect(address)
                return str(probe.getsockname()[0])
        except OSError as this:
            error = this
    raise error


def _can_bind(family: int, address: Any) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(address)
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return True
