"""Whether a name or an address is this host's."""

from __future__ import annotations

import errno
import socket
from typing import Any

__all__ = ["is_this_host"]


def is_this_host(host: str) -> bool:
    """Whether ``host`` can be bound here, which is asked of the kernel; False if it cannot be found."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(_can_bind(family, address) for family, _, _, _, address in found)


def _can_bind(family: int, address: Any) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(address)
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return True
