"""inotify(7): one queue of "this file has news", whatever the number of files.

Three calls of libc; why not a package: docs/why/tail.md.
"""

from __future__ import annotations

import errno
import os
from struct import Struct

from procession._os.kernel import Function

# include/uapi/linux/inotify.h
IN_MODIFY = 0x00000002
IN_MOVED_TO = 0x00000080
IN_CREATE = 0x00000100
IN_ONLYDIR = 0x01000000

# The watch that stands for IN_Q_OVERFLOW in what `Inotify.read` returns: events have been dropped.
OVERFLOW = -1

_EVENT = Struct("iIII")  # wd, mask, cookie, length of the name that follows
_READ_SIZE = 65536


class Inotify:
    """One inotify instance, non-blocking and close-on-exec.

    Raises:
        OSError: ENOSYS where the system has no inotify; EMFILE past ``max_user_instances``.
    """

    def __init__(self) -> None:
        self._add_watch = Function.named("inotify_add_watch")
        self._rm_watch = Function.named("inotify_rm_watch")
        # inotify_init1 takes O_NONBLOCK and O_CLOEXEC under names of its own.
        self._fd = Function.named("inotify_init1").ask(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor; it is readable while events wait."""
        return self._fd

    def watch(self, path: str, mask: int) -> int:
        """Watch the inode behind ``path`` and return its watch, the same one for the same inode.

        Raises:
            OSError: ENOENT, ENOTDIR and the like for the path; ENOSPC past ``max_user_watches``.
        """
        return self._add_watch.ask(self._fd, os.fsencode(path), mask)

    def unwatch(self, wd: int) -> None:
        """End a watch; one that the kernel has already ended (its inode is gone) is no error."""
        try:
            self._rm_watch.ask(self._fd, wd)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise

    def read(self) -> set[int]:
        """Return the watches with events since the last read, with `OVERFLOW` among them or not.

        A watch that has just been ended may be among them too. Never blocks; what one read of
        64 KiB leaves in the queue keeps the descriptor readable.
        """
        try:
            data = os.read(self._fd, _READ_SIZE)
        except BlockingIOError:
            return set()
        watches, position = set(), 0
        while position < len(data):
            wd, _, _, name_length = _EVENT.unpack_from(data, position)
            watches.add(wd)
            position += _EVENT.size + name_length
        return watches

    def close(self) -> None:
        """Close the instance and with it every watch."""
        os.close(self._fd)
