"""What a host needs of a store, whatever the store is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from procession._membership.machine import CutOff, Seen
    from procession._membership.model import Account, Fate, Roll, Round


class Meeting(Protocol):
    """One host's place in a store. No call waits for the store: what comes of it is seen in news."""

    def join(self) -> None:
        """Put this host's member there, and begin to look; a store that comes later is waited for.

        Raises:
            RendezvousConnectionError: The store cannot be reached, and will not come later.
        """

    def fileno(self) -> int:
        """Return an fd that is readable while there is news."""

    def news(self) -> list[Seen | CutOff | Roll]:
        """Return what is new; of several views the last.

        Raises:
            ProcessionError: The store will not have this host.
        """

    @property
    def trouble(self) -> str:
        """Why the store has not been reached, or takes nothing; empty where it does."""

    @property
    def is_good(self) -> bool:
        """Whether this host's lease cannot have run out."""

    @property
    def kill_at_ns(self) -> int:
        """When this host's workers have to be gone (CLOCK_BOOTTIME), unless it is put off; 0 never."""

    def propose(self, following: Round, revision: int) -> None:
        """Write a round and what the clock shows, if the store's round is still of that revision."""

    def call_off(self, generation: int, *, to_grow: bool) -> None:
        """Have all hosts stop their workers of a round; why, the first tells who does it."""

    def call_roll(self) -> None:
        """Ask who is there: ``news`` will have a roll."""

    def tell(self, generation: int, fate: Fate, port: int, account: Account) -> None:
        """Write what became of this host's workers; what was told later stands.

        All but success calls the round off.
        """

    def beat(self) -> None:
        """Write what this host's clock shows: it leads, and the others compare theirs with it."""

    def leave(self) -> None:
        """Take this host's member away, after all that was written before."""

    def close(self) -> None:
        """Let go of everything, after what was written or a few seconds.

        Without ``leave`` the member stays until its lease runs out.
        """
