"""A host's place at the hub: its member and lease, a view of the run, and what it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procession._hub.line import Greeting, Line
from procession._membership import codec
from procession._membership.machine import CutOff, Seen
from procession._membership.rules import OVER
from procession._store.news import News
from procession.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from procession._membership.model import Account, Fate, Member, Roll, Round, View
    from procession._store.endpoint import Endpoint

_NAMED = 16  # hosts of a roll call that are named


class HubMeeting:
    """One host's place at a hub.

    Args:
        place: Where the hub is.
        run_id: The run's.
        nnodes: How many hosts it has, as text.
        member: This host.
        ttl: Seconds after which a host of which nothing is heard counts as lost.
        clock: This host's, ns, which is compared with the others'.
        leads: The hub is this host's.
    """

    def __init__(
        self,
        place: Endpoint,
        run_id: str,
        nnodes: str,
        member: Member,
        ttl: float,
        clock: Callable[[], int],
        *,
        leads: bool,
    ) -> None:
        self._keys = codec.Keys(run_id)
        self._id = member.id
        self._news = News()
        self._reader = codec.Reader(self._keys)
        self._leads = leads
        record = codec.member_json(member).decode()
        greeting = Greeting(run_id, nnodes, member.id, member.host, record, ttl)
        self._clock = clock
        self._line = Line(place, greeting, self._news, clock)

    def join(self) -> None:
        """Begin to look for the hub; the first host may come later than this one."""
        self._line.start()

    def fileno(self) -> int:
        """Return an fd that is readable while there is news."""
        return self._news.fileno()

    def news(self) -> list[Seen | CutOff | Roll]:
        """Return what is new; of several views the last.

        Raises:
            UsageError: The hub is that of another run, or speaks another protocol.
        """
        if self._line.refusal:
            raise UsageError(self._line.refusal)
        return self._news.read(self._view)

    def _view(self) -> View:
        return self._reader.view(self._line.keys(), whole=self._leads)

    @property
    def trouble(self) -> str:
        """Why the hub has not been reached, empty where it has."""
        return self._line.trouble

    @property
    def is_good(self) -> bool:
        """Whether this host's lease cannot have run out."""
        return self._line.fence is not None and self._line.fence.is_good

    @property
    def kill_at_ns(self) -> int:
        """When this host's workers have to be gone (CLOCK_BOOTTIME), unless the hub answers again."""
        return self._line.fence.kill_at_ns if self._line.fence is not None else 0

    def propose(self, following: Round, revision: int) -> None:
        """Write a round and what the clock shows, if the hub's is still of that revision."""
        old = following.generation - 1
        behind = [self._keys.outcomes_of(old), self._keys.off(old)]
        if following.verdict:
            behind = [self._keys.outcomes, self._keys.offs]
        data = codec.round_json(following).decode()
        self._line.ask(replace=[self._keys.round, data, revision], forget=behind, put=self._beat())

    def beat(self) -> None:
        """Write what this host's clock shows."""
        self._line.ask(put=self._beat())

    def _beat(self) -> list[str]:
        return [self._keys.clock, codec.beat_json(self._id, self._clock()).decode()]

    def call_off(self, generation: int, *, to_grow: bool) -> None:
        """Have all hosts stop their workers of a round."""
        why = codec.TO_GROW.decode() if to_grow else ""
        self._line.ask(create=self._keys.off(generation), value=why)

    def call_roll(self) -> None:
        """Ask who is there: ``news`` will have a roll."""
        self._line.call_roll(_NAMED)

    def tell(self, generation: int, fate: Fate, port: int, account: Account) -> None:
        """Write what became of this host's workers; all but success calls the round off."""
        name = self._keys.outcome(generation, self._id)
        told = [name, codec.outcome_json(fate, port, account).decode()]
        off = {"create": self._keys.off(generation)} if fate in OVER else {}
        self._line.ask(put=told, **off)

    def leave(self) -> None:
        """Take this host's member away, after all that was written before."""
        self._line.ask(leave=True)

    def close(self) -> None:
        """End the thread and let go of the connection."""
        self._line.close()
        self._news.close()
