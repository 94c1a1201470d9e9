"""What is taken of what a scheduler tells, and why the rest is not. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procession.errors import UsageError

if TYPE_CHECKING:
    from procession.cli.options.placement import Placement, Said


class Taken:
    """What a scheduler tells, for a run of so many hosts; it remembers what was taken.

    Args:
        placement: What it tells, None for nothing.
        most: Hosts of the run at most.
    """

    def __init__(self, placement: Placement | None, most: int) -> None:
        self._most = most
        self._placement = placement
        self._words: list[str] = []

    @property
    def _usable(self) -> Placement | None:
        """What it tells, if that is of this run: as many hosts, one process on each."""
        found = self._placement
        if found is None or found.crowd:
            return None
        of_it = found.hosts is None or int(found.hosts.value) == self._most
        return found if of_it and int(found.rank.value) < self._most else None

    def rank(self) -> int | None:
        """This host's number."""
        found = self._usable
        return None if found is None else int(self._noted("this is number", found.rank))

    def first(self) -> tuple[str, int] | None:
        """Name or address of the first host, and a port for the hosts to meet at."""
        found = self._usable
        if found is None or found.first is None:
            return None
        return self._noted("the first is", found.first), found.port

    def words(self, *, own_number: bool) -> str:
        """What was taken, in words; empty for nothing.

        Args:
            own_number: The number of hosts was given.
        """
        found = self._usable
        if found is not None and found.hosts is not None and not own_number:
            self._words.insert(0, f"{found.hosts.value} hosts ({found.hosts.source})")
        return f"told by {found.origin}: {', '.join(self._words)}" if found and self._words else ""

    def refuse(self, nnodes: str, how: str) -> UsageError:
        """Why it does not say where hosts meet.

        Args:
            nnodes: ``--nnodes`` as it was given.
            how: What to type instead.
        """
        return UsageError(f"--nnodes {nnodes}: {self._why_not()}{how}.")

    def _why_not(self) -> str:
        found = self._placement
        if found is None:
            return ""
        if found.crowd:
            return (
                f"{found.origin} has started several processes a host ({found.crowd}), and procession "
                "run is one a host, with -n workers. Have one started on each, or "
            )
        if found.hosts is not None and self._usable is None:
            return (
                f"{found.origin} has started this on {found.hosts.value} hosts "
                f"({found.hosts.source}). Leave --nnodes out, or "
            )
        if self._usable is None:
            return f"this is a host beyond them ({found.rank.source}). Give another number, or "
        return f"{found.origin} does not tell which host is the first: "

    def _noted(self, what: str, said: Said) -> str:
        self._words.append(f"{what} {said.value} ({said.source})")
        return said.value
