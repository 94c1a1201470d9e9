"""Files without a name: nobody can open one but who is handed its descriptor."""

from __future__ import annotations

import errno
import fcntl
import os

__all__ = ["anonymous_file", "freeze"]

_NONE_HERE = (errno.ENOSYS, errno.EPERM, errno.EACCES)  # old kernels, seccomp filters, a sysctl


def anonymous_file(name: str) -> int:
    """Return the fd of an empty file in memory, or of an unlinked temporary one where that is not to be had.

    Args:
        name: What ``/proc/<pid>/fd`` shows of it.
    """
    try:
        return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except AttributeError:  # another system
        pass
    except OSError as error:
        if error.errno not in _NONE_HERE:
            raise
    from tempfile import TemporaryFile

    with TemporaryFile() as file:
        return os.dup(file.fileno())


def freeze(fd: int) -> None:
    """Forbid every holder of the file to change it, where the kernel can (memfd_create(2), sealing).

    What is mapped of it stays as it is, and no truncation by another holder ends us with SIGBUS.
    """
    if not hasattr(os, "memfd_create"):
        return
    try:
        fcntl.fcntl(
            fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        )
    except OSError:  # EBUSY: somebody has it mapped for writing; EINVAL: a file on disk
        return
