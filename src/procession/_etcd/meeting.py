"""A host's place in etcd: its member and lease, a view of the run, and what it writes."""

from __future__ import annotations

import os
import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from procession._etcd.client import Client
from procession._etcd.lease import Lease, now
from procession._etcd.watch import Watch
from procession._log import Logger
from procession._membership import codec
from procession._membership.machine import CutOff, Seen
from procession.errors import ProcessionError, RendezvousStateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from procession._etcd.settings import Settings
    from procession._membership.codec import Entry, Keys
    from procession._membership.model import Account, Fate, Member, Round

logger = Logger(__name__)

_PAUSE = 0.1  # seconds between two tries to write
_PATIENCE = 3.0  # seconds that close() lets writes take
_REMEMBERED = 24 * 3600  # seconds for which a late host is told that the run is over


class EtcdMeeting:
    """One host's place in etcd.

    Args:
        settings: Where etcd is.
        run_id: By which the hosts of a run find each other.
        member: This host; ``since`` and an empty ``address`` are filled in.
        ttl: Seconds after which a host of which nothing is heard counts as lost.
    """

    def __init__(self, settings: Settings, run_id: str, member: Member, ttl: int) -> None:
        self._settings = settings
        self._keys = codec.Keys(run_id)
        self._member = member
        self._ttl = ttl
        self._news = _News()
        self._reader = codec.Reader(self._keys)
        self._writer: Writer | None = None
        self._lease: Lease | None = None
        self._watch: Watch | None = None
        self._clients = [Client(settings), Client(settings)]  # for writing; for the lease alone

    def join(self) -> None:
        """Put this host's member there, and begin to look.

        Raises:
            RendezvousConnectionError: etcd cannot be reached.
            UsageError: It does not let us in.
        """
        writing, leasing = self._clients
        address = self._member.address or leasing.local_address()
        self._member = self._member._replace(address=address)
        watch = Watch(
            self._settings, self._keys.run, lambda entries: self._news.see(tuple(entries.values()))
        )
        self._watch = watch
        self._lease = Lease(leasing, self._ttl, self._kept, self._news.lose)
        self._lease.start()
        name = self._keys.member(self._member.id)
        writing.put(name, codec.member_json(self._member), self._lease.id)
        self._writer = Writer(writing, self._keys, watch)
        self._writer.start()
        watch.start()

    def fileno(self) -> int:
        """Return an fd that is readable while there is news."""
        return self._news.fileno()

    def news(self) -> list[Seen | CutOff]:
        """Return what is new; of several views the last."""
        reason, entries = self._news.take()
        if reason:
            return [CutOff(reason)]
        try:
            return [] if entries is None else [Seen(self._reader.view(entries))]
        except RendezvousStateError as error:
            return [CutOff(str(error))]

    @property
    def is_good(self) -> bool:
        """Whether this host's lease cannot have run out."""
        return self._lease is not None and self._lease.is_good

    @property
    def kill_at_ns(self) -> int:
        """When this host's workers have to be gone (CLOCK_BOOTTIME), unless etcd answers again."""
        return self._lease.kill_at_ns if self._lease is not None else 0

    def propose(self, following: Round, revision: int) -> None:
        """Write a round, if etcd's is still of that revision."""
        self._later(lambda writer: writer.propose(following, revision))

    def tell(self, generation: int, fate: Fate, port: int, account: Account) -> None:
        """Write what became of this host's workers."""
        name = self._keys.outcome(generation, self._member.id)
        data = codec.outcome_json(fate, port, account)
        self._later(lambda writer: writer.client.put(name, data))

    def leave(self) -> None:
        """Revoke the lease, and with it take the member away."""
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

    # ---- in the other threads

    def _later(self, deed: Callable[[Writer], object]) -> None:
        if self._writer is not None:
            self._writer.queue.put(deed)

    def _kept(self, revision: int) -> None:
        """The time to kill workers is put off; and the watch has to have heard what the store has."""
        self._news.ring()
        if self._watch is not None and revision > self._watch.revision:
            self._later(lambda writer: writer.check_watch())


class Writer(threading.Thread):
    """A thread that writes in the order it was asked to, until etcd has taken it.

    Args:
        client: Its own way to etcd.
        keys: The run's.
        watch: Whose hearing is checked.
    """

    def __init__(self, client: Client, keys: Keys, watch: Watch) -> None:
        super().__init__(name="procession-etcd-write", daemon=True)
        self.client = client
        self.queue: queue.SimpleQueue[Callable[[Writer], object] | None] = queue.SimpleQueue()
        self._keys = keys
        self._watch = watch
        self._until = float("inf")

    def run(self) -> None:
        """Write until ``close``."""
        while (deed := self.queue.get()) is not None:
            while not self._done(deed) and now() < self._until:
                threading.Event().wait(_PAUSE)

    def _done(self, deed: Callable[[Writer], object]) -> bool:
        try:
            deed(self)
        except ProcessionError as error:
            logger.debug("writing to etcd: %s", error)
            return False
        return True

    def propose(self, following: Round, revision: int) -> None:
        """Write a round, if etcd's is still of that revision; tidy up behind it."""
        lease = self.client.grant(_REMEMBERED) if following.verdict else 0
        data = codec.round_json(following)
        if not self.client.replace(self._keys.round, data, revision, lease):
            return
        old = following.generation - 1
        where = self._keys.outcomes if following.verdict else self._keys.outcomes_of(old)
        self.client.delete(where)

    def check_watch(self) -> None:
        """Have the watch go to another member, if this one has kept something from it."""
        heard = self._watch.revision
        if not self.client.changed_since(self._keys.run, heard):
            return
        threading.Event().wait(_PAUSE)  # it may be on its way
        if self._watch.revision == heard:
            self._watch.rouse()

    def close(self) -> None:
        """Write what was asked for, for some seconds at most, and end the thread."""
        self._until = now() + _PATIENCE
        self.queue.put(None)
        self.join()


class _News:
    """What other threads have to tell the one that decides: the keys, and whether all is lost."""

    def __init__(self) -> None:
        self._reader, self._bell = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._bell, False)
        self._lock = threading.Lock()
        self._entries: tuple[Entry, ...] | None = None
        self._lost = ""

    def fileno(self) -> int:
        return self._reader

    def see(self, entries: tuple[Entry, ...]) -> None:
        with self._lock:
            self._entries = entries
            self._wake()

    def lose(self, reason: str) -> None:
        with self._lock:
            self._lost = reason
            self._wake()

    def take(self) -> tuple[str, tuple[Entry, ...] | None]:
        with self._lock:
            with suppress(BlockingIOError):
                os.read(self._reader, 4096)
            entries, self._entries = self._entries, None
            return self._lost, entries

    def close(self) -> None:
        with self._lock:
            os.close(self._reader)
            os.close(self._bell)
            self._reader = self._bell = -1

    def ring(self) -> None:
        """Have whoever decides look after things."""
        with self._lock:
            self._wake()

    def _wake(self) -> None:
        if self._bell >= 0:
            with suppress(BlockingIOError):  # it is full, so it rings
                os.write(self._bell, b"!")
