"""A rendezvous at any backend that holds one value: the rules of membership, asked again and again."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from procession._log import Logger
from procession._membership.model import Member, Terms
from procession._membership.rules import (
    calls_off,
    is_first_call,
    is_over,
    is_spare,
    leader,
    next_round,
    waiting,
)
from procession._store.fence import now
from procession.errors import (
    RendezvousClosedError,
    RendezvousError,
    RendezvousGracefulExitError,
    RendezvousTimeoutError,
    RoundOverError,
    UsageError,
)
from procession.events import NodeState, construct_and_record_rdzv_event
from procession.rendezvous.api import RendezvousHandler, RendezvousInfo, RendezvousStoreInfo
from procession.rendezvous.heart import Heart, lifetime
from procession.rendezvous.settings import RendezvousSettings, RendezvousTimeout
from procession.rendezvous.shared import SharedState, StateHolder
from procession.rendezvous.store import WatchedStore
from procession.rendezvous.torch_store import is_torchs, prefix_store, tcp_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from procession.rendezvous.dynamic_rendezvous import RendezvousBackend

__all__ = ["DynamicRendezvousHandler"]

_LOOK = 1.0  # seconds between two looks at the state, at most
_ANSWER = 60.0  # seconds for a store of this process to answer
_GRACE = 5.0  # seconds for a change of the state after the time for the round is over
_UNLIMITED = 10**9  # restarts: whoever calls next_rendezvous counts them

logger = Logger(__name__)


class DynamicRendezvousHandler(RendezvousHandler):
    """Hosts that come and go; made by ``from_backend``.

    Args:
        node: This host.
        settings: How long is waited, and for how many.
        backend_name: The kind of rendezvous.
        store: What the agents of a round exchange facts by.
        state_holder: The state.

    Raises:
        UsageError: The settings cannot be. (A ``ValueError``.)
    """

    def __init__(
        self,
        node: Member,
        settings: RendezvousSettings,
        backend_name: str,
        store: Any,
        state_holder: StateHolder,
    ) -> None:
        if not settings.run_id:
            raise UsageError("the run id is empty: give the run a name")
        if not 1 <= settings.min_nodes <= settings.max_nodes:
            raise UsageError(
                f"min_nodes {settings.min_nodes}, max_nodes {settings.max_nodes}: give 1 or more, "
                "and max_nodes not below min_nodes"
            )
        self._node = node
        self._settings = settings
        self._backend_name = backend_name
        self._store = store
        self._state_holder = state_holder
        self._terms = Terms(settings.min_nodes, settings.max_nodes, _UNLIMITED)
        self._generation = -1
        self._entered = False
        self._call_since: float | None = None
        self._signs: dict[
            str, tuple[int, float]
        ] = {}  # host -> last beat, and when it was new here
        self._for_workers: Any = None
        self._heart = Heart(settings, self._give_sign)

    @classmethod
    def from_backend(
        cls,
        run_id: str,
        store: Any,
        backend: RendezvousBackend,
        min_nodes: int,
        max_nodes: int,
        local_addr: str | None = None,
        timeout: RendezvousTimeout | None = None,
        keep_alive_interval: int = 5,
        keep_alive_max_attempt: int = 3,
    ) -> DynamicRendezvousHandler:
        """Make a handler.

        Args:
            run_id: The run's id.
            store: What the agents of a round exchange facts by, as torch's ``Store``.
            backend: Holds the state.
            min_nodes: The least number of hosts.
            max_nodes: The greatest.
            local_addr: Address of this host; its host name where None.
            timeout: How long is waited.
            keep_alive_interval: Seconds between two signs of life.
            keep_alive_max_attempt: After so many that did not come a host is taken for dead.
        """
        host = os.uname().nodename
        settings = RendezvousSettings(
            run_id,
            min_nodes,
            max_nodes,
            timeout or RendezvousTimeout(),
            timedelta(seconds=keep_alive_interval),
            keep_alive_max_attempt,
        )
        node = Member(_fresh_id(host), host, 0, address=local_addr or host)
        return cls(node, settings, backend.name, store, StateHolder(backend))

    @property
    def settings(self) -> RendezvousSettings:
        """How long is waited, and for how many."""
        return self._settings

    @property
    def use_agent_store(self) -> bool:
        """Whether a store for workers listens at MASTER_ADDR and MASTER_PORT: a TCPStore of rank 0's agent.

        Where hosts meet at a TCPStore too, as in torch, unless TORCH_DISABLE_SHARE_RDZV_TCP_STORE is 1.
        """
        shares = os.environ.get("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "0") != "1"
        return shares and is_torchs(self._store)

    def get_backend(self) -> str:
        """Return the kind of rendezvous."""
        return self._backend_name

    def next_rendezvous(self) -> RendezvousInfo:
        """Give up the seat in the last round, and wait for one in the next.

        Raises:
            RendezvousClosedError: There will be none.
            RendezvousGracefulExitError: Likewise, where this host had no place in a gang that was full.
            RendezvousTimeoutError: Not enough hosts came in time.
            RendezvousConnectionError: The backend cannot be reached.
        """
        deadline = time.monotonic() + self._settings.timeout.join.total_seconds()
        try:
            while (found := self._joined(deadline)) is None:
                continue  # the round was over before its hosts had an address in common
        except RendezvousError as error:
            self._tell(f"{type(error).__name__}: {error}", NodeState.FAILED)
            raise
        self._tell(f"joined round {self._generation} as rank {found.rank}", rank=found.rank)
        return found

    def is_closed(self) -> bool:
        """Whether there will be no further round."""
        return self._heart.stopped.is_set() or self._state_holder.read().closed

    def set_closed(self) -> None:
        """Have no further round."""
        deadline = time.monotonic() + self._settings.timeout.close.total_seconds()
        self._state_holder.change(lambda state: state._replace(closed=True), deadline)

    def set_succeeded(self) -> None:
        """Say that the workers of this host have ended well: the round takes nobody in any more."""
        me, deadline = self._node.id, time.monotonic() + _GRACE
        self._state_holder.change(lambda state: state.with_success(me), deadline)

    def set_failed(self, reason: str) -> str:
        """Have no further round, and all other hosts stop their workers.

        Args:
            reason: What has failed here, in words.

        Returns:
            What had failed on another host before, "" for nothing: the first to tell is the one whom all name.
        """
        failure = f"on {self._node.host}: {reason}"
        deadline = time.monotonic() + self._settings.timeout.close.total_seconds()
        state = self._state_holder.change(
            lambda state: state._replace(closed=True, failure=state.failure or failure), deadline
        )
        return state.failure if state.failure != failure else ""

    def num_nodes_waiting(self) -> int:
        """Return how many hosts wait; where the round is over this one is waited for, so 1 at least.

        Raises:
            RendezvousConnectionError: The others have taken this host for dead, or may soon, and go on
                without it.
        """
        self._heart.require_touch()
        state = self._state_holder.read()
        view = state.view()
        if is_over(view) or state.failure:
            return max(len(waiting(view)), 1)
        full = view.round is not None and len(view.round.seats) >= self._terms.most
        return 0 if full or view.outcomes else len(waiting(view))

    @property
    def kill_at_ns(self) -> int:
        """When this host's workers have to be gone (CLOCK_BOOTTIME), put off by each sign of life."""
        return self._heart.kill_at_ns

    def get_run_id(self) -> str:
        """Return the run's id."""
        return self._settings.run_id

    def shutdown(self) -> bool:
        """Have no further round, and let go; False if the others could not be told."""
        return self._let_go(self.set_closed)

    def leave(self) -> bool:
        """Let go, and have the others go on without this host at once; False if they could not be told."""
        me = self._node.id
        return self._let_go(
            lambda: self._state_holder.change(
                lambda state: state.without({me}), time.monotonic() + _GRACE
            )
        )

    # ---- inside

    def _joined(self, deadline: float) -> RendezvousInfo | None:
        state = self._seated(deadline)
        seats, generation = (state.round.seats, state.round.generation) if state.round else ((), -1)
        rank = [seat.id for seat in seats].index(self._node.id)
        self._generation = generation
        self._heart.beat(self._node.id)
        store = prefix_store(f"torch.rendezvous.{self._settings.run_id}.{generation}", self._store)
        port = self._serve_workers() if rank == 0 and self.use_agent_store else None
        facts = WatchedStore(store, self._is_past)
        try:
            where = RendezvousStoreInfo.build(rank, facts, self._node.address, port)
        except RoundOverError:
            return None
        return RendezvousInfo(store, rank, len(seats), where)

    def _is_past(self) -> bool:
        """Whether the round that this host has a seat in is over.

        Raises:
            RendezvousConnectionError: The others may go on without this host.
        """
        self._heart.require_touch()
        state = self._state_holder.read()
        newer = state.round is not None and state.round.generation > self._generation
        return newer or state.closed or is_over(state.view())

    def _let_go(self, tell: Callable[[], object]) -> bool:
        self._heart.stop(_GRACE)
        try:
            tell()
        except RendezvousError as error:
            logger.warning("the rendezvous %s: %s", self._settings.run_id, error)
            return False
        finally:
            self._state_holder.close()
        return True

    def _serve_workers(self) -> int:
        """Have a store for the workers of a round, another each time: an old one holds their old keys."""
        self._for_workers = tcp_store(self._node.address, 0, _ANSWER, is_master=True)
        return int(self._for_workers.port)

    def _seated(self, deadline: float) -> SharedState:
        spare = False
        while True:
            if self._heart.stopped.is_set():
                raise RendezvousClosedError(f"the rendezvous {self._settings.run_id} is closed")
            sent, beats = now(), self._heart.is_due
            state = self._state_holder.change(partial(self._step, beats=beats), deadline + _GRACE)
            self._entered = True
            if beats:
                self._heart.given(sent)
            if state.closed:
                raise self._closed(state, spare=spare)
            if self._has_seat(state):
                return state
            spare = is_spare(state.view(), self._terms, self._node.id)
            if spare:  # it waits without end, and for a gang no less than others once it is none
                deadline = time.monotonic() + self._settings.timeout.join.total_seconds()
            if time.monotonic() >= deadline:
                self._state_holder.change(
                    lambda state: state.without({self._node.id}), time.monotonic() + _GRACE
                )
                here = ", ".join(member.host for member in state.members)
                raise RendezvousTimeoutError(
                    f"not enough hosts came: {len(state.members)} of {self._terms.least} ({here})"
                )
            self._state_holder.wait(self._seconds_to_look())

    def _closed(self, state: SharedState, *, spare: bool) -> RendezvousError:
        why = f"failed {state.failure}" if state.failure else "is closed"
        kind = RendezvousGracefulExitError if spare and not state.failure else RendezvousClosedError
        return kind(f"the rendezvous {self._settings.run_id} {why}")

    def _has_seat(self, state: SharedState) -> bool:
        """Whether there is a round that this host has a new seat in."""
        latest = state.round
        if latest is None or latest.generation <= self._generation or is_over(state.view()):
            return False
        return latest.rank(self._node.id) is not None

    def _step(self, state: SharedState, *, beats: bool) -> SharedState:
        """Be there, give up a seat in an old round, and lead if that falls to this host."""
        if state.closed:
            return state
        if self._entered and not state.view().is_there(self._node.id):
            # Taken for dead: who comes back is somebody else, so that what was seen stays true.
            self._node = self._node._replace(id=_fresh_id(self._node.host))
        state = state.without(self._dead(state)).with_member(self._node)
        state = self._without_old_seat(state.with_beat(self._node.id) if beats else state)
        view, me = state.view(), self._node.id
        if leader(view) != me:
            return state
        if calls_off(view, self._terms):
            return state._replace(called_off=True)
        following = next_round(view, self._terms, last_call_over=self._call_is_over(state))
        if following is None or following.verdict is not None:
            return state
        return state._replace(round=following, stopped=(), succeeded=(), called_off=False)

    def _without_old_seat(self, state: SharedState) -> SharedState:
        """With the word that this host has no workers in a round that is over."""
        latest, me = state.round, self._node.id
        if latest is None or latest.rank(me) is None or me in state.stopped:
            return state
        if latest.generation > self._generation and not is_over(state.view()):
            return state
        return state._replace(stopped=(*state.stopped, me))

    def _seconds_to_look(self) -> float:
        """No longer than until this host has to decide something by its clock."""
        if self._call_since is None:
            return _LOOK
        limit = self._settings.timeout.last_call.total_seconds()
        return min(max(self._call_since + limit - time.monotonic(), 0.01), _LOOK)

    def _call_is_over(self, state: SharedState) -> bool:
        if not is_first_call(state.view(), self._terms):
            self._call_since = None
            return False
        self._call_since = self._call_since or time.monotonic()
        limit = self._settings.timeout.last_call.total_seconds()
        return time.monotonic() - self._call_since >= limit

    def _dead(self, state: SharedState) -> set[str]:
        """Hosts whose beat has not changed for too long, by this host's clock alone."""
        limit, moment = lifetime(self._settings), time.monotonic()
        beats = dict(state.beats)
        self._signs = {
            host: self._signs[host] if self._signs.get(host, (-1,))[0] == beat else (beat, moment)
            for host, beat in ((m.id, beats.get(m.id, 0)) for m in state.members)
        }
        others = ((h, since) for h, (_, since) in self._signs.items() if h != self._node.id)
        return {host for host, since in others if moment - since > limit}

    def _give_sign(self, me: str) -> bool:
        """Give a sign of life; whether it was taken, from a host that is not taken for dead."""

        def alive(state: SharedState) -> SharedState:
            if not state.view().is_there(me):
                return state
            return state.without(self._dead(state)).with_beat(me)

        limit = time.monotonic() + self._settings.timeout.heartbeat.total_seconds()
        return self._state_holder.change(alive, limit).view().is_there(me)

    def _tell(
        self, message: str, state: NodeState = NodeState.RUNNING, rank: int | None = None
    ) -> None:
        construct_and_record_rdzv_event(
            self._settings.run_id, message, state, hostname=self._node.host, rank=rank
        )


def _fresh_id(host: str) -> str:
    return f"{host}_{os.getpid()}_{os.urandom(4).hex()}"
