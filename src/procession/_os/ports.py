"""A free port for MASTER_PORT.

The kernel gives ports of its ephemeral range to anyone who connects or binds to port 0, so a port
of that range may be gone before rank 0 binds it. One from below the range can only go to somebody
who asks for that very port (ip(7), ip_local_port_range).
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from procession.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

_RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
_LINUX_RANGE = (32768, 60999)
_FIRST_UNPRIVILEGED = 1024
_PREFERRED = 20000  # below it live most services with a registered port
_TRIES = 200


def free_port(promised: Container[int] = ()) -> int:
    """Pick a port that nobody listens at or is bound to, at random.

    Args:
        promised: Ports that somebody is about to listen at, or has listened at before: not these.

    Returns:
        A port of below the ephemeral range, or an ephemeral one where there is none below.

    Raises:
        StartError: There is no free port.
    """
    for port in candidates(_ephemeral_range(), os.urandom(2 * _TRIES)):
        if port not in promised and is_free(port):
            return port
    raise StartError("no free port for MASTER_PORT. Give one by --master-port.")


def candidates(ephemeral: tuple[int, int], noise: bytes) -> Iterator[int]:
    """Ports to try, one for each two bytes of noise. Pure.

    Args:
        ephemeral: The first and the last port of the kernel's range.
        noise: Random bytes.

    Yields:
        Ports outside the range where that leaves any, never privileged ones.
    """
    low, high = ephemeral
    if low > _PREFERRED:
        first, end = _PREFERRED, low
    elif low > _FIRST_UNPRIVILEGED:
        first, end = _FIRST_UNPRIVILEGED, low
    elif high < 65535:
        first, end = max(high + 1, _FIRST_UNPRIVILEGED), 65536
    else:
        first, end = _FIRST_UNPRIVILEGED, 65536
    for index in range(0, len(noise) - 1, 2):
        yield first + int.from_bytes(noise[index : index + 2], "big") % (end - first)


def is_free(port: int) -> bool:
    """Whether the port can be bound on every address, IPv4 and IPv6, of this host."""
    import _socket  # socket itself takes longer to import than all that is done with it here

    families = {
        _socket.AF_INET: ("", port),
        _socket.AF_INET6: ("::", port),
    }
    return all(_can_bind(family, address) for family, address in families.items())


def _can_bind(family: int, address: tuple[str, int]) -> bool:
    import _socket

    try:
        probe = _socket.socket(family, _socket.SOCK_STREAM)
    except OSError:
        return True  # no such addresses on this host
    try:
        if family == _socket.AF_INET6:
            probe.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
        probe.bind(address)
    except OSError as error:
        return error.errno == errno.EADDRNOTAVAIL  # IPv6 is compiled in but switched off
    finally:
        probe.close()
    return True


def _ephemeral_range() -> tuple[int, int]:
    try:
        with open(_RANGE, encoding="utf-8") as file:
            low, high = file.read().split()
        return int(low), int(high)
    except (OSError, ValueError):
        return _LINUX_RANGE
