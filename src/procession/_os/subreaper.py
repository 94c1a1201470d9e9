"""Being a subreaper for as long as somebody in this process needs it."""

from __future__ import annotations

import threading

from procession._os.kernel import is_subreaper, set_subreaper


class SubreaperLease:
    """Counts who needs the flag, and puts the caller's own setting back with the last.

    The flag belongs to the process, so there is one lease a process (``LEASE``): the state that the
    kernel holds once is held once here too.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._before = False

    def take(self) -> None:
        """Be a subreaper until the matching ``give_back``."""
        with self._lock:
            if self._holders == 0:
                self._before = is_subreaper()
                set_subreaper(True)
            self._holders += 1

    def give_back(self) -> None:
        """End one ``take``."""
        with self._lock:
            self._holders -= 1
            if self._holders == 0:
                set_subreaper(self._before)


LEASE = SubreaperLease()
