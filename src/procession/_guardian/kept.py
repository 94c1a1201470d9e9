"""A guardian that is lent to one gang after another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procession.errors import UsageError

PIDNS = "pidns"  # the one isolation that a guardian is born into

if TYPE_CHECKING:
    from collections.abc import Callable

    from procession._guardian.client import Guardian
    from procession._os.circumstances import Circumstances


class KeptGuardian:
    """Makes a guardian when one is needed, and keeps it until ``close``.

    Args:
        run_id: The id of what the gangs make up together.
        make: Makes a guardian for such an id, with an isolation or "".
        follows: It goes where the launcher has gone since: to its directory, umask, limits, affinity
            and niceness, as they are when it is lent.
    """

    def __init__(
        self, run_id: str, make: Callable[[str, str], Guardian], *, follows: bool = False
    ) -> None:
        self.run_id = run_id
        self._make = make
        self._guardian: Guardian | None = None
        self._lent = False
        self._used = False
        self._closed = False
        self._isolate = ""
        self._follows = follows
        self._place: Circumstances | None = None  # where the guardian is

    def have(self) -> Guardian:
        """Return the guardian, made now if there is none.

        Raises:
            OSError: It cannot be started.
        """
        if self._guardian is None:
            self._place = self._whereabouts()
            self._guardian, self._used = self._make(self.run_id, self._isolate), False
        return self._guardian

    def lend(self, isolate: str = "") -> Guardian:
        """Return a guardian with nothing to guard, for one gang.

        Args:
            isolate: As of ``spawn_guardian``; one that was made otherwise is ended.

        Raises:
            UsageError: It is closed, or a gang has it.
            OSError: It cannot be started.
        """
        if self._closed:
            raise UsageError("this fork server is closed; make another")
        if self._lent:
            raise UsageError(
                "this fork server is used by a gang that has not ended; call its wait() or close() "
                "first, or make a fork server for each of the gangs"
            )
        if PIDNS in (isolate, self._isolate) and isolate != self._isolate:
            self._end()
        self._isolate = isolate
        if self._used and self._guardian is not None and not self._guardian.renew():
            self._end()
        guardian = self.have()
        place = self._whereabouts()
        if place is not None and place != self._place:
            guardian.follow(place)
            self._place = place
        self._lent = self._used = True
        return guardian

    def take_back(self, *, swept: bool) -> None:
        """Take note that its gang is over; where that was not swept, the guardian ends with it."""
        self._lent = False
        if not swept or self._closed:
            self._end()

    def dismiss(self) -> None:
        """Have the guardian begin to end, which no gang needs any more; `close` waits for it."""
        if self._guardian is not None:
            self._guardian.dismiss()

    def close(self) -> None:
        """End the guardian and whatever it guards; a second call does nothing."""
        self._closed = True
        self._end()

    def _whereabouts(self) -> Circumstances | None:
        if not self._follows:
            return None
        from procession._os.circumstances import circumstances

        return circumstances()

    def _end(self) -> None:
        guardian, self._guardian = self._guardian, None
        if guardian is not None:
            guardian.close()
