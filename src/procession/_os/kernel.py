"""System calls that the standard library does not wrap.

By the C half of ctypes: the package around it would cost launcher, guardian and fork server 4 ms each.
"""

from __future__ import annotations

import errno
import os
from _ctypes import CFuncPtr, _SimpleCData, byref, call_function, dlopen, dlsym, get_errno

from procession._os.lean import SIGCONT, SIGKILL

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


class _Int(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "i"


class Function(CFuncPtr):
    """A function of libc that returns a C int, and sets errno where that is negative."""

    _flags_ = 1 | 8  # FUNCFLAG_CDECL, FUNCFLAG_USE_ERRNO: Modules/_ctypes/ctypes.h
    _restype_ = _Int

    @classmethod
    def named(cls, name: str) -> Function:
        """Look the function up.

        Raises:
            OSError: ENOSYS where libc has none of that name.
        """
        try:
            return cls(_address(name))
        except OSError as error:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from error

    def ask(self, *args: int | bytes) -> int:
        """Call it.

        Raises:
            OSError: It has failed.
        """
        result: int = self(*args)
        if result < 0:
            code = get_errno()
            raise OSError(code, os.strerror(code))
        return result


def is_subreaper() -> bool:
    """True if orphaned descendants of this process become its children."""
    flag = _Int(0)
    return _prctl(_PR_GET_CHILD_SUBREAPER, byref(flag)) and flag.value != 0


def set_subreaper(on: bool) -> bool:
    """Make this process adopt its orphaned descendants, or stop that; False where unsupported.

    The flag survives exec and is not inherited by children (prctl(2)).
    """
    return _prctl(_PR_SET_CHILD_SUBREAPER, int(on))


def die_with(parent: int) -> None:
    """Have the kernel send SIGKILL to this process when ``parent`` ends, and do so now if it has.

    The kernel's parent is a *thread* (PR_SET_PDEATHSIG, prctl(2)): only for children of a process
    that has one. It holds over exec, not for children.
    """
    _prctl(_PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), SIGKILL)


def continue_after_parent() -> None:
    """Have the kernel continue this process when its parent ends: one that is stopped would miss that.

    Likewise of a thread, and of whoever adopts this process then; to who runs, SIGCONT is nothing.
    """
    _prctl(_PR_SET_PDEATHSIG, SIGCONT)


def _prctl(option: int, argument: object) -> bool:
    try:
        prctl = _address("prctl")
    except OSError:  # another system
        return False
    return bool(call_function(prctl, (option, argument, 0, 0, 0)) == 0)


def _address(name: str) -> int:
    """Where a function of libc is."""
    return dlsym(dlopen(None, os.RTLD_NOW), name)  # type: ignore[arg-type]  # as dlopen(3)
