"""What a host writes, in the order it was asked to, until etcd has taken it."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any

from procession._etcd import messages
from procession._etcd.client import NOT_FOUND
from procession._etcd.wire import EtcdError
from procession._log import Logger
from procession._membership import codec
from procession._membership.model import Roll
from procession._store.fence import now
from procession.errors import ProcessionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from procession._etcd.client import Client
    from procession._etcd.watch import Watch
    from procession._membership.codec import Keys
    from procession._membership.model import Member, Round

logger = Logger(__name__)

_PAUSE = 0.1  # seconds between two tries to write
_PATIENCE = 3.0  # seconds that close() lets writes take
_PASSING = 0.5  # seconds for which a write may be refused before anybody is told
_REMEMBERED = 24 * 3600  # seconds for which a late host is told that the run is over
_NAMED = 16  # hosts of a roll call that are named


class Writer(threading.Thread):
    """A thread that writes in the order it was asked to, until etcd has taken it.

    Args:
        client: Its own way to etcd.
        keys: The run's.
        member: Who writes.
        lease: To which its member is bound.
        clock: Its host's, ns.
        refused: Called in this thread while ``trouble`` has something to say.
    """

    def __init__(
        self,
        client: Client,
        keys: Keys,
        member: Member,
        lease: int,
        clock: Callable[[], int],
        refused: Callable[[], None],
    ) -> None:
        super().__init__(name="procession-etcd-write", daemon=True)
        self.client = client
        self.queue: queue.SimpleQueue[Callable[[Writer], object] | None] = queue.SimpleQueue()
        self._keys = keys
        self._member = member
        self._lease = lease
        self._clock = clock
        self._refused = refused
        self._until = float("inf")
        self._problem = ""  # of the write that is tried
        self._tried_since = float("inf")

    @property
    def trouble(self) -> str:
        """Why etcd does not take what is written, empty where it does, or may soon."""
        return self._problem if now() >= self._tried_since + _PASSING else ""

    def run(self) -> None:
        """Write until ``close``."""
        while (deed := self.queue.get()) is not None:
            self._problem, self._tried_since = "", now()
            while not self._done(deed) and now() < self._until:
                threading.Event().wait(_PAUSE)

    def _done(self, deed: Callable[[Writer], object]) -> bool:
        try:
            deed(self)
        except ProcessionError as error:
            logger.debug("writing to etcd: %s", error)
            self._problem = str(error)
            if self.trouble:
                self._refused()
            return False
        self._tried_since = float("inf")
        return True

    def close(self) -> None:
        """Write what was asked for, for some seconds at most, and end the thread."""
        self._until = now() + _PATIENCE
        self.queue.put(None)
        if self.ident is not None:
            self.join()

    # ---- deeds

    def enter(self) -> bool:
        """Put this host's member there; return whether it leads: nobody else did."""
        name, data = self._keys.member(self._member.id), codec.member_json(self._member)
        member = messages.put(name, data, self._lease)
        look = messages.read(self._keys.leader)  # who may not read is told now, too
        return self.client.transact(
            [member, look, self._leader()],
            [member, look],
            condition=messages.is_of(self._keys.leader, 0),
        )

    def stand(self) -> None:
        """Become the leader, if there is none. Whether that was so, the watch tells."""
        try:
            self.client.transact([self._leader()], condition=messages.is_of(self._keys.leader, 0))
        except EtcdError as error:
            if error.code != NOT_FOUND:  # the lease: whoever has none does not lead
                raise

    def _leader(self) -> dict[str, Any]:
        return messages.put(self._keys.leader, self._member.id.encode(), self._lease)

    def propose(self, following: Round, revision: int) -> None:
        """Write a round, if etcd's is still of that revision, and tidy up behind it."""
        lease = self.client.grant(_REMEMBERED) if following.verdict else 0
        old = following.generation - 1
        outcomes, off = self._keys.outcomes_of(old), self._keys.off(old)
        if following.verdict:
            outcomes, off = self._keys.outcomes, self._keys.offs
        data = codec.round_json(following)
        deeds = [
            messages.put(self._keys.round, data, lease),
            self._time(lease),
            *map(messages.delete, (outcomes, off)),
        ]
        self.client.transact(deeds, condition=messages.is_of(self._keys.round, revision))

    def beat(self) -> None:
        """Write what this host's clock shows."""
        self.client.transact([self._time()])

    def _time(self, lease: int = 0) -> dict[str, Any]:
        return messages.put(
            self._keys.clock, codec.beat_json(self._member.id, self._clock()), lease
        )

    def call_off(self, generation: int, *, to_grow: bool) -> None:
        """Have all hosts stop their workers of a round; once, as each write tells all of them."""
        self.client.create(self._keys.off(generation), codec.TO_GROW if to_grow else b"")

    def tell(self, generation: int, outcome: bytes, *, calls_off: bool) -> None:
        """Write what became of this host's workers."""
        told = messages.put(self._keys.outcome(generation, self._member.id), outcome)
        off = self._keys.off(generation)
        if calls_off:
            both = [told, messages.put(off, b"")]
            self.client.transact(both, [told], condition=messages.is_of(off, 0))
        else:
            self.client.transact([told])

    def roll(self) -> Roll:
        """Read who is there."""
        found = self.client.read(self._keys.members, limit=_NAMED)
        return Roll(tuple(map(codec.read_member, found.keys)), found.total)

    def check(self, watch: Watch) -> None:
        """Have the watch go to another member, if this one has kept something from it."""
        name, heard = watch.heard()
        if not self.client.changed_since(name, heard):
            watch.is_current(name, self.client.revision)
            return
        threading.Event().wait(_PAUSE)  # it may be on its way
        if watch.heard() == (name, heard):
            watch.rouse()
