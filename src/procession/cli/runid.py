"""The id of a run that was given none."""

from __future__ import annotations

import os


def random_id() -> str:
    """A random UUID (RFC 9562, version 4), as torchrun names a run that was given no name."""
    value = bytearray(os.urandom(16))
    value[6] = value[6] & 0x0F | 0x40
    value[8] = value[8] & 0x3F | 0x80
    text = value.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
