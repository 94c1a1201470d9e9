"""System calls that fail as on a kernel that lacks them: a seccomp filter of our own making.

A filter is a program of classic BPF (Documentation/userspace-api/seccomp_filter.rst). It holds for
the thread that installs it and for all that this starts, for good.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

# include/uapi/linux/prctl.h, seccomp.h
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_RET_ERRNO = 0x00050000
_RET_ALLOW = 0x7FFF0000

# include/uapi/linux/bpf_common.h: load a word at an offset, jump if equal, return a constant.
_LOAD = 0x20
_JUMP_IF_EQUAL = 0x15
_RETURN = 0x06

# struct seccomp_data begins with the call's number and the architecture it was made for.
_AT_NUMBER = 0
_AT_ARCHITECTURE = 4


class Architecture(NamedTuple):
    """What identifies an architecture to a filter, and the numbers of its system calls."""

    audit: int
    numbers: dict[str, int]


# The numbers that all architectures share since Linux 5.0 (asm-generic/unistd.h).
_COMMON = {"pidfd_send_signal": 424, "pidfd_open": 434, "clone3": 435}

# AUDIT_ARCH_* of include/uapi/linux/audit.h; numbers of each architecture's unistd.h.
ARCHITECTURES = {
    "x86_64": Architecture(
        0xC000003E,
        {
            **_COMMON,
            "inotify_add_watch": 254,
            "inotify_init": 253,
            "inotify_init1": 294,
            "memfd_create": 319,
            "prctl": 157,
            "unshare": 272,
        },
    ),
    "aarch64": Architecture(
        0xC00000B7,
        {
            **_COMMON,
            "inotify_add_watch": 27,
            "inotify_init1": 26,
            "memfd_create": 279,
            "prctl": 167,
            "unshare": 97,
        },
    ),
}


def program(architecture: Architecture, names: Iterable[str], errno: int) -> bytes:
    """Return the filter after which the named calls fail with ``errno``. Pure.

    Calls made for another architecture (32-bit programs) are let through: their numbers mean others.

    Raises:
        KeyError: A call whose number is not known here.
    """
    refused = [architecture.numbers[name] for name in names]
    tests = [
        # On equality to the refusal, which stands behind the tests and the permission.
        _instruction(_JUMP_IF_EQUAL, number, if_true=len(refused) - i)
        for i, number in enumerate(refused)
    ]
    return b"".join(
        [
            _instruction(_LOAD, _AT_ARCHITECTURE),
            _instruction(_JUMP_IF_EQUAL, architecture.audit, if_false=len(tests) + 1),
            _instruction(_LOAD, _AT_NUMBER),
            *tests,
            _instruction(_RETURN, _RET_ALLOW),
            _instruction(_RETURN, _RET_ERRNO | errno),
        ]
    )


def install(instructions: bytes) -> None:
    """Put a filter on the calling thread, for good; privileges are never gained again after it.

    Raises:
        OSError: The kernel has no seccomp, or refuses the filter.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    # struct sock_fprog: a count of instructions, padded to the pointer that follows.
    header = struct.pack("HP", len(instructions) // 8, ctypes.addressof(buffer))
    zero = ctypes.c_ulong(0)
    for option, *arguments in (
        (_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero),
        (_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), header, zero, zero),
    ):
        if libc.prctl(option, *arguments) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))


def _instruction(code: int, constant: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    """Return a struct sock_filter: jumps count the instructions that are skipped."""
    return struct.pack("HBBI", code, if_true, if_false, constant)
