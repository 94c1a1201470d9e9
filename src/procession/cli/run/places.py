"""The place where this host meets the others, and what it owes them if that is with itself."""

from __future__ import annotations

import errno
import math
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from procession._agent.words import host_names
from procession._hub.listening import open_hub
from procession._hub.meeting import HubMeeting
from procession._hub.state import HubState
from procession._membership.model import Verdict
from procession._os.reach import address_towards, is_this_host
from procession.cli.run.execute import signal_exception
from procession.cli.run.gathering import at_door
from procession.cli.say import say
from procession.errors import RendezvousTimeoutError, StartError, UsageError

if TYPE_CHECKING:
    from procession._agent.muster import Door
    from procession._etcd.settings import Settings
    from procession._hub.server import Hub
    from procession._loop.gate import SignalGate
    from procession._membership.meeting import Meeting
    from procession._membership.model import Member
    from procession._os.steady import SteadyClock
    from procession._store.endpoint import Endpoint
    from procession.cli.options.hub import HubWish
    from procession.cli.options.nodes import Nodes
    from procession.cli.run.crew import HostCrew

_BEFORE_A_WORD = 1.0  # seconds
_BETWEEN_LOOKS = 0.5  # seconds, for a name that is not known


class Arrival(NamedTuple):
    """What a host brings to the place where it meets the others.

    Attributes:
        nodes: The run over hosts.
        run_id: The run's id.
        member: This host.
        clock: Its clock, ns.
        gate: Tells of signals to this process.
    """

    nodes: Nodes
    run_id: str
    member: Member
    clock: SteadyClock
    gate: SignalGate


class Place:
    """A place that is nobody's of us.

    Args:
        meeting: This host's part in it.
        member: This host.
        door: Where others come to it before workers start.
    """

    def __init__(self, meeting: Meeting, member: Member, door: Door | None) -> None:
        self.meeting = meeting
        self.member = member
        self.door = door

    def ended_by(self, signum: int) -> None:
        """Somebody ends this host's part."""

    def see_off(self, crew: HostCrew) -> None:
        """Stay as long as the others need it."""

    def close(self) -> None:
        """Let go of it."""
        if self.door is not None:
            self.door.close()


class OwnHub(Place):
    """A hub in this process: the others meet here, and cannot go on without it.

    Args:
        meeting: This host's part in it.
        member: This host.
        door: Where others come to it before workers start.
        hub: It.
        state: What it knows.
    """

    def __init__(
        self, meeting: Meeting, member: Member, door: Door | None, hub: Hub, state: HubState
    ) -> None:
        super().__init__(meeting, member, door)
        self._hub = hub
        self._state = state
        hub.start()

    def ended_by(self, signum: int) -> None:
        """Have all hosts end as this one does."""
        name = signal.Signals(signum).name
        reason = f"{self.member.host}, at which the hosts meet, was ended by {name}"
        self._state.farewell = Verdict(128 + signum, reason)

    def see_off(self, crew: HostCrew) -> None:
        """Stay until the others have ended.

        Raises:
            SignalException: Somebody does not want to wait.
        """
        due = time.monotonic() + _BEFORE_A_WORD
        while others := self._others():
            crew.wait(self._hub.fileno(), max(due - time.monotonic(), 0.0))
            self._hub.hush()
            if time.monotonic() >= due:
                say(
                    f"the hosts meet here: this one ends once {host_names(others, len(others))} have ended"
                )
                due = math.inf

    def _others(self) -> list[str]:
        return [name for host, name in self._hub.hosts.items() if host != self.member.id]

    def close(self) -> None:
        """Close the hub."""
        super().close()
        self._hub.close(f"{self.member.host}, at which the hosts meet, has ended")


def place_at_hub(arrival: Arrival, wish: HubWish) -> Place:
    """Join a hub, or make it where it is this host's.

    Args:
        arrival: Who comes, and to which run.
        wish: Where the hub is.

    Raises:
        UsageError: The place is not this host's.
        StartError: Its port is in use.
        RendezvousTimeoutError: Its address was not found in time.
    """
    nodes, run_id, member, clock, gate = arrival
    state = HubState(os.urandom(8).hex(), run_id, nodes.number, member.id)
    hub = _opened(wish, state)
    if hub is not None and wish.lends and member.node_rank is None:
        member = member._replace(node_rank=0)  # MASTER_ADDR is this host's
    if not member.address:
        own = wish.place.host if hub is not None else _address(wish, nodes.join, gate)
        member = member._replace(address=own)
    member, door = at_door(member)
    terms = (wish.place, run_id, nodes.number)
    meeting = HubMeeting(*terms, member, nodes.lease, clock, leads=hub is not None)
    if hub is None:
        return Place(meeting, member, door)
    return OwnHub(meeting, member, door, hub, state)


def place_at_etcd(arrival: Arrival, settings: Settings) -> Place:
    """Join an etcd that runs; see ``place_at_hub``."""
    from procession._etcd.meeting import EtcdMeeting

    nodes, run_id, member, clock, _ = arrival
    member, door = at_door(member if member.address else towards(member, settings.endpoints[0]))
    return Place(EtcdMeeting(settings, run_id, member, nodes.lease, clock), member, door)


def towards(member: Member, place: Endpoint) -> Member:
    """A host with the address by which it reaches a place; without, where that cannot be said."""
    with suppress(OSError):
        return member._replace(address=address_towards(*place))
    return member


def _address(wish: HubWish, patience: float, gate: SignalGate) -> str:
    """By which others reach this host; the name of the place may be known later (a pod's in DNS).

    Raises:
        SignalException: Somebody does not want to wait.
        RendezvousTimeoutError: It was not known in time.
    """
    began, said = time.monotonic(), False
    while True:
        try:
            return address_towards(*wish.place)
        except OSError as error:
            why, waited = error.strerror or str(error), time.monotonic() - began
        if waited >= patience:
            raise RendezvousTimeoutError(
                f"{wish.place.host}, where the hosts meet, was not found within {patience:g} s: {why}. Is "
                "the name right?"
            )
        if not said and waited >= _BEFORE_A_WORD:
            left = f"{patience - waited:.0f} s left"
            say(f"waiting for the place where the hosts meet ({wish.place.host}: {why}), {left}")
            said = True
        gate.sleep(min(_BETWEEN_LOOKS, patience - waited))
        if gate.pending:
            raise signal_exception(gate.take_pending()[0])


def _opened(wish: HubWish, state: HubState) -> Hub | None:
    """A hub, if it is for this host to have it."""
    serves = wish.serves
    if serves is False or (serves is None and not is_this_host(wish.place.host)):
        return None
    listen = wish.listen or wish.place.host
    try:
        return open_hub(state, wish.place._replace(host=listen), lends=wish.lends, port=wish.port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and serves is None:
            return None  # another agent on this host has it
        raise _cannot_listen(wish, error) from error


def _cannot_listen(wish: HubWish, error: OSError) -> UsageError | StartError:
    what = f"{wish.place}: this host cannot listen there: {error.strerror or error}"
    if error.errno == errno.EADDRINUSE:
        return StartError(f"{what}. Give another port, on all hosts.")
    return UsageError(
        f"{what}. Where the hosts meet has to be an address of this host, the first; give it as the "
        "others reach it. Where that is by another (NAT, a service), add --rdzv-conf listen=ADDRESS."
    )
