"""Reading where hosts meet. Pure."""

from __future__ import annotations

import re

from procession.errors import UsageError

__all__ = ["parse_rendezvous_endpoint"]

_HOST = re.compile(r"[\w.:-]+")


def parse_rendezvous_endpoint(endpoint: str | None, default_port: int) -> tuple[str, int]:
    """Read ``HOST[:PORT]``; an IPv6 address stands in brackets.

    Args:
        endpoint: The text; None or empty is ``localhost``.
        default_port: The port where it names none.

    Returns:
        The host, without brackets, and the port.

    Raises:
        UsageError: It is not such a text. (A ``ValueError``.)
    """
    text = (endpoint or "").strip()
    if not text:
        return "localhost", default_port
    bracketed = text.startswith("[") and text.endswith("]")
    host, colon, port = (text, "", "") if bracketed else text.rpartition(":")
    if not colon:
        host = text
    if len(host) > 1 and host[0] == "[" and host[-1] == "]":
        host = host[1:-1]
    if not _HOST.fullmatch(host):
        raise UsageError(f"rendezvous endpoint {text}: give HOST:PORT, such as gpu1:29500")
    return host, _port(text, port) if colon else default_port


def _port(text: str, port: str) -> int:
    if re.fullmatch(r"[0-9]{1,5}", port) and int(port) < 2**16:
        return int(port)
    raise UsageError(f"rendezvous endpoint {text}: the port has to be a number from 0 to 65535")
