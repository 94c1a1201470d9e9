"""A host's place in etcd: its member and lease, a view of the run, and what it writes.

Every host watches what all have to know, ``now/``, and its own member. One of them has put its id
under ``now/leader``, bound to its lease, and watches everything; when that key goes with its host, the
others try to take its place, and one does. So what a host hears does not grow with their number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from procession._etcd.client import Client
from procession._etcd.lease import Lease
from procession._etcd.watch import Watch
from procession._etcd.writer import Writer
from procession._membership import codec
from procession._membership.machine import CutOff, Seen
from procession._membership.rules import OVER
from procession._store.news import News

if TYPE_CHECKING:
    from collections.abc import Callable

    from procession._etcd.settings import Settings
    from procession._membership.model import Account, Fate, Member, Roll, Round, View


class EtcdMeeting:
    """One host's place in etcd.

    Args:
        settings: Where etcd is.
        run_id: By which the hosts of a run find each other.
        member: This host; ``since`` and an empty ``address`` are filled in.
        ttl: Seconds after which a host of which nothing is heard counts as lost.
        clock: This host's, ns, which is compared with the others'.
    """

    def __init__(
        self, settings: Settings, run_id: str, member: Member, ttl: int, clock: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._keys = codec.Keys(run_id)
        self._member = member
        self._ttl = ttl
        self._clock = clock
        self._news = News()
        self._reader = codec.Reader(self._keys)
        self._writer: Writer | None = None
        self._lease: Lease | None = None
        self._watch: Watch | None = None
        self._clients = [Client(settings), Client(settings)]  # for writing; for the lease alone
        self._stands = False  # it tries to become the leader
        self._has_left = False

    def join(self) -> None:
        """Put this host's member there, and begin to look.

        Raises:
            RendezvousConnectionError: etcd cannot be reached.
            UsageError: It does not let us in.
        """
        writing, leasing = self._clients
        address = self._member.address or leasing.local_address()
        self._member = self._member._replace(address=address)
        lease = self._lease = Lease(leasing, self._ttl, self._kept, self._news.lose)
        lease.start()
        told = self._member, lease.id, self._clock, self._news.ring
        self._writer = Writer(writing, self._keys, *told)
        names = self._all_keys() if self._writer.enter() else self._own_keys()
        self._watch = Watch(self._settings, names, self._news.see, self._clock)
        self._writer.start()
        self._watch.start()

    def fileno(self) -> int:
        """Return an fd that is readable while there is news."""
        return self._news.fileno()

    def news(self) -> list[Seen | CutOff | Roll]:
        """Return what is new; of several views the last."""
        return self._news.read(self._view)

    @property
    def trouble(self) -> str:
        """Why etcd takes nothing from this host, empty where it does: ``join`` has reached it."""
        return self._writer.trouble if self._writer is not None else ""

    @property
    def is_good(self) -> bool:
        """Whether this host's lease cannot have run out."""
        return self._lease is not None and self._lease.is_good

    @property
    def kill_at_ns(self) -> int:
        """When this host's workers have to be gone (CLOCK_BOOTTIME), unless etcd answers again."""
        return self._lease.kill_at_ns if self._lease is not None else 0

    def propose(self, following: Round, revision: int) -> None:
        """Write a round and what the clock shows, if etcd's round is still of that revision."""
        self._later(lambda writer: writer.propose(following, revision))

    def beat(self) -> None:
        """Write what this host's clock shows."""
        self._later(lambda writer: writer.beat())

    def call_off(self, generation: int, *, to_grow: bool) -> None:
        """Have all hosts stop their workers of a round."""
        self._later(lambda writer: writer.call_off(generation, to_grow=to_grow))

    def call_roll(self) -> None:
        """Ask who is there: ``news`` will have a roll."""
        self._later(lambda writer: self._news.hear(writer.roll()))

    def tell(self, generation: int, fate: Fate, port: int, account: Account) -> None:
        """Write what became of this host's workers; all but success calls the round off."""
        data = codec.outcome_json(fate, port, account)
        self._later(lambda writer: writer.tell(generation, data, calls_off=fate in OVER))

    def leave(self) -> None:
        """Revoke the lease, and with it take the member away."""
        self._has_left = True
        lease = self._lease
        if lease is not None:
            self._later(lambda writer: writer.client.revoke(lease.id))

    def close(self) -> None:
        """End the threads and let go of the connections."""
        if self._writer is not None:
            self._writer.close()
        for thread in (self._watch, self._lease):
            if thread is not None and thread.ident is not None:
                thread.close()
        for client in self._clients:
            client.close()
        self._news.close()

    # ---- who leads

    def _own_keys(self) -> tuple[str, ...]:
        return self._keys.now, self._keys.member(self._member.id)

    def _all_keys(self) -> tuple[str, ...]:
        return (self._keys.run,)

    def _view(self) -> View:
        """What is known of the run; where nobody leads, this host stands for it."""
        if self._watch is None:
            raise ValueError("before join")
        names, entries = self._watch.keys()
        view = self._reader.view(entries, whole=names == self._all_keys())
        if view.leader == self._member.id:
            self._watch.follow(self._all_keys())
        elif not view.leader and not self._stands and not self._has_left:
            self._later(lambda writer: writer.stand())
        self._stands = not view.leader
        return view

    # ---- in the other threads

    def _later(self, deed: Callable[[Writer], object]) -> None:
        if self._writer is not None:
            self._writer.queue.put(deed)

    def _kept(self, revision: int) -> None:
        """The time to kill workers is put off; and the watch has to have heard what the store has."""
        self._news.ring()
        watch = self._watch
        if watch is not None and revision > watch.heard()[1]:
            self._later(lambda writer: writer.check(watch))
