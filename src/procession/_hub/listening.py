"""Where a hub listens: at the address that was asked for, and at no other."""

from __future__ import annotations

import errno
import os
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

from procession._hub.lending import Lending
from procession._hub.server import Hub
from procession._os.reach import addresses, is_loopback

if TYPE_CHECKING:
    from procession._hub.state import HubState
    from procession._store.endpoint import Endpoint

_BACKLOG = 4096  # the kernel allows net.core.somaxconn


def open_hub(state: HubState, place: Endpoint, *, lends: bool, port: int = 0) -> Hub:
    """Make a hub that listens; it serves once it is started.

    Args:
        state: What it knows.
        place: Where hosts arrive.
        lends: The workers need that port: hosts are sent on to another.
        port: That other one, 0 for a free one.

    Raises:
        OSError: The place is not of this host, or in use.
    """
    listener = listen(*place)
    if not lends:
        return Hub(state, listener, None)
    try:
        return Hub(state, listen(place.host, port), Lending(listener, partial(listen, *place)))
    except OSError:
        listener.close()
        raise


def listen(host: str, port: int) -> socket.socket:
    """Listen at an address of this host.

    A name that is loopback in this host's own table (Debian's 127.0.1.1) does not say where the
    others find it: then all addresses are listened at, as torchrun does in any case.

    Args:
        host: A name or an address; empty for all addresses of this host.
        port: The port, 0 for a free one.

    Raises:
        OSError: None of its addresses is this host's, or the port is in use.
    """
    error = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for family, address in _own_addresses(host, port):
        try:
            return _listener(family, address)
        except OSError as this:
            error = this
            if this.errno == errno.EADDRINUSE:
                break
    raise error


def _own_addresses(host: str, port: int) -> list[tuple[int, Any]]:
    found = addresses(host, port)
    if host and not is_loopback(host) and all(is_loopback(where[0]) for _, where in found):
        return [(socket.AF_INET6, ("::", port)), (socket.AF_INET, ("", port))]
    return found


def _listener(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
        sock.bind(address)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
