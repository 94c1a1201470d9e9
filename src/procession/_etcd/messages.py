"""What etcd is asked, and what it says, as its JSON gateway has it. Pure."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

from procession._membership.codec import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator


def encoded(key: str | bytes) -> str:
    """Text or bytes as the gateway takes them."""
    return b64encode(key.encode() if isinstance(key, str) else key).decode()


def decoded(text: str) -> bytes:
    """Bytes of what the gateway gives."""
    return b64decode(text)


def key_range(name: str) -> dict[str, str]:
    """One key, or all keys below a prefix that ends in a slash: up to its last byte plus one."""
    raw = name.encode()
    if not name.endswith("/"):
        return {"key": encoded(raw)}
    return {"key": encoded(raw), "range_end": encoded(raw[:-1] + bytes([raw[-1] + 1]))}


def key_name(kv: dict[str, str]) -> str:
    """The name of a key of an answer."""
    return decoded(kv["key"]).decode(errors="replace")


def read_key(kv: dict[str, str]) -> Entry:
    """A key of an answer."""
    return Entry(
        key_name(kv),
        decoded(kv.get("value", "")),
        int(kv.get("create_revision", 0)),
        int(kv.get("mod_revision", 0)),
    )


# ---- a transaction and its parts


def put(name: str, value: bytes, lease: int = 0) -> dict[str, Any]:
    """Write a key; it goes when the lease does."""
    return {"request_put": put_body(name, value, lease)}


def put_body(name: str, value: bytes, lease: int = 0) -> dict[str, str]:
    """The same as a request of its own."""
    return {"key": encoded(name), "value": encoded(value), "lease": str(lease)}


def delete(name: str) -> dict[str, Any]:
    """Remove a key, or all below a prefix."""
    return {"request_delete_range": key_range(name)}


def read(name: str) -> dict[str, Any]:
    """Read a key, or all below a prefix."""
    return {"request_range": key_range(name)}


def is_of(name: str, modified: int) -> dict[str, str]:
    """The condition that a key's value is of that revision still; 0: that it is not there."""
    return {
        "key": encoded(name),
        "target": "MOD",
        "result": "EQUAL",
        "mod_revision": str(modified),
    }


def keys_read(answer: dict[str, Any]) -> Iterator[Entry]:
    """All keys that a transaction has read."""
    for response in answer.get("responses", ()):
        for kv in response.get("response_range", {}).get("kvs", ()):
            yield read_key(kv)
