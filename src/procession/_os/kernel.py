"""System calls that the standard library does not wrap."""

from __future__ import annotations

import ctypes
import os

from procession._os.lean import SIGKILL

# include/uapi/linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37


def open_pidfd(pid: int) -> int | None:
    """Return a pidfd of ``pid``, or None where the kernel has none to give.

    Linux before 5.3 and seccomp filters answer ENOSYS or EPERM; other systems lack the call. The
    process must still be there, if only as a zombie: the caller has not reaped it.
    """
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def is_subreaper() -> bool:
    """True if orphaned descendants of this process become its children."""
    flag = ctypes.c_int(0)
    return _prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(flag)) and flag.value != 0


def set_subreaper(on: bool) -> bool:
    """Make this process adopt its orphaned descendants, or stop that; False where unsupported.

    The flag survives exec and is not inherited by children (prctl(2)).
    """
    return _prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(int(on)))


def die_with(parent: int) -> None:
    """Have the kernel send SIGKILL to this process when ``parent`` ends, and do so now if it has.

    The kernel's parent is a *thread* (PR_SET_PDEATHSIG, prctl(2)): only for children of a process
    that has one. It holds over exec, not for children.
    """
    _prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(SIGKILL))
    if os.getppid() != parent:
        os.kill(os.getpid(), SIGKILL)


def _prctl(option: int, argument: object) -> bool:
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (AttributeError, OSError):
        return False
    zero = ctypes.c_ulong(0)
    return bool(prctl(option, argument, zero, zero, zero) == 0)
