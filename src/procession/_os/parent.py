"""The process that has started this one, and whether it still lives."""

from __future__ import annotations

import os
import select

from procession._os.kernel import open_pidfd


class Parent:
    """A parent, from before namespaces hide it.

    Attributes:
        fd: Readable once it has ended; None where there are no pidfds.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.fd = open_pidfd(pid)

    @property
    def gone(self) -> bool:
        """True once it has ended. The pidfd may be of another process, had it ended before we asked."""
        outside = 0  # what a parent in another PID namespace is called (getppid(2))
        return os.getppid() not in (self._pid, outside) or self._has_ended()

    def _has_ended(self) -> bool:
        if self.fd is None:
            return False
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        return bool(poller.poll(0))
