"""System calls that the kernel refuses, to see what a program does without them."""

from __future__ import annotations

import errno as errors
import os

from procession._os import seccomp
from procession.errors import UsageError

__all__ = ["deny"]


def deny(*calls: str, errno: int = errors.ENOSYS) -> None:
    """Make system calls fail in this thread and in all that it starts from now on, for good.

    Call it in a process of its own, which cannot gain privileges after it either: setuid programs
    run as whoever starts them (PR_SET_NO_NEW_PRIVS).

    Args:
        calls: Names, of those that `procession._os.seccomp` knows the numbers of.
        errno: What they fail with; ENOSYS as on a kernel without them, EPERM as in a strict container.

    Raises:
        UsageError: A name that is not known on this machine.
        OSError: The kernel has no seccomp filters.
    """
    machine = os.uname().machine
    architecture = seccomp.ARCHITECTURES.get(machine)
    if architecture is None:
        raise UsageError(
            f"no system call's number is known for {machine}: "
            f"there are {', '.join(seccomp.ARCHITECTURES)}"
        )
    unknown = sorted(set(calls) - architecture.numbers.keys())
    if unknown or not calls:
        raise UsageError(
            f"cannot deny {', '.join(unknown) or 'nothing'}: "
            f"there are {', '.join(sorted(architecture.numbers))}"
        )
    seccomp.install(seccomp.program(architecture, calls, errno))
