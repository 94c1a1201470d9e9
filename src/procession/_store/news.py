"""What other threads have to tell the one that decides."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from procession._membership.machine import CutOff, Seen
from procession.errors import RendezvousStateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from procession._membership.model import Roll, View


class News:
    """Whether keys have changed, whether all is lost, who is there; and an fd that is readable then."""

    def __init__(self) -> None:
        self._reader, self._bell = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._bell, False)
        self._lock = threading.Lock()
        self._changed = False
        self._lost = ""
        self._roll: Roll | None = None

    def fileno(self) -> int:
        """Return the fd."""
        return self._reader

    def see(self) -> None:
        """Keys have changed."""
        with self._lock:
            self._changed = True
            self._wake()

    def lose(self, reason: str) -> None:
        """The lease may have run out."""
        with self._lock:
            self._lost = reason
            self._wake()

    def hear(self, roll: Roll) -> None:
        """Somebody has asked who is there."""
        with self._lock:
            self._roll = roll
            self._wake()

    def ring(self) -> None:
        """Have whoever decides look after things."""
        with self._lock:
            self._wake()

    def take(self) -> tuple[str, bool, Roll | None]:
        """Why all is lost, whether keys have changed, who is there; each is told once, but the first."""
        with self._lock:
            with suppress(BlockingIOError):
                os.read(self._reader, 4096)
            found = self._lost, self._changed, self._roll
            self._changed, self._roll = False, None
            return found

    def read(self, view: Callable[[], View]) -> list[Seen | CutOff | Roll]:
        """Return what is new, as the agent's machine hears it; of several views the last.

        Args:
            view: Makes a view of the keys; a ``RendezvousStateError`` of its is a cut.
        """
        reason, changed, roll = self.take()
        if reason:
            return [CutOff(reason)]
        try:
            seen = [Seen(view())] if changed else []
        except RendezvousStateError as error:
            return [CutOff(str(error))]
        return [*seen, roll] if roll is not None else [*seen]

    def close(self) -> None:
        """Let go of the fd."""
        with self._lock:
            os.close(self._reader)
            os.close(self._bell)
            self._reader = self._bell = -1

    def _wake(self) -> None:
        if self._bell >= 0:
            with suppress(BlockingIOError):  # it is full, so it rings
                os.write(self._bell, b"!")
