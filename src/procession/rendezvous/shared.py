"""The state of a rendezvous as one value that all hosts read, and write back by comparison."""

from __future__ import annotations

import json
import random
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from procession._membership.codec import read_round, round_dict
from procession._membership.model import Fate, Member, Outcome, Round, View
from procession.errors import RendezvousConnectionError, RendezvousStateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from procession.rendezvous.dynamic_rendezvous import RendezvousBackend

__all__ = ["SharedState", "StateHolder", "decode", "encode"]

_PAUSE = 0.05  # seconds at most before a further try, at random: the others try too


class SharedState(NamedTuple):
    """What all hosts know.

    Attributes:
        members: Who is there, by their time of arrival.
        beats: How often each has said that it is.
        round: The latest round.
        stopped: Hosts of it that have no workers any more.
        succeeded: Those whose workers have ended well.
        arrivals: How many hosts have come so far.
        closed: There will be no further round.
        called_off: The round is over, by its leader.
        failure: Why the run is over, where workers of a host have failed for good.
    """

    members: tuple[Member, ...] = ()
    beats: tuple[tuple[str, int], ...] = ()
    round: Round | None = None
    stopped: tuple[str, ...] = ()
    arrivals: int = 0
    closed: bool = False
    called_off: bool = False
    failure: str = ""
    succeeded: tuple[str, ...] = ()

    def view(self) -> View:
        """As the rules of membership see it."""
        told = [Outcome(host, Fate.SUCCEEDED) for host in self.succeeded]
        told += [Outcome(host, Fate.STOPPED) for host in self.stopped]
        return View(self.members, self.round, 1, tuple(told), self.called_off)

    def with_member(self, host: Member) -> SharedState:
        """With a host that has come, if it is not there."""
        if any(member.id == host.id for member in self.members):
            return self
        came = host._replace(since=self.arrivals)
        return self._replace(members=(*self.members, came), arrivals=self.arrivals + 1)

    def without(self, gone: set[str]) -> SharedState:
        """Without hosts that are not there any more."""
        return self._replace(
            members=tuple(m for m in self.members if m.id not in gone),
            beats=tuple((host, beat) for host, beat in self.beats if host not in gone),
        )

    def with_success(self, host: str) -> SharedState:
        """With the word that a host's workers have ended well, if it has a part in the round."""
        if self.round is None or self.round.rank(host) is None or host in self.succeeded:
            return self
        return self._replace(succeeded=(*self.succeeded, host))

    def with_beat(self, host: str) -> SharedState:
        """With one more sign of life of a host."""
        beats = dict(self.beats)
        return self._replace(beats=tuple({**beats, host: beats.get(host, 0) + 1}.items()))


def encode(state: SharedState) -> bytes:
    """As bytes."""
    members = [member._asdict() for member in state.members]
    now = round_dict(state.round) if state.round else None
    return json.dumps({**state._asdict(), "members": members, "round": now}).encode()


def decode(data: bytes) -> SharedState:
    """Of bytes.

    Raises:
        RendezvousStateError: They say nothing that makes sense.
    """
    try:
        found: dict[str, Any] = json.loads(data)
        return SharedState(
            tuple(Member(**member) for member in found["members"]),
            tuple((host, beat) for host, beat in found["beats"]),
            read_round(found["round"]) if found["round"] else None,
            tuple(found["stopped"]),
            found["arrivals"],
            found["closed"],
            found["called_off"],
            str(found["failure"]),
            tuple(found["succeeded"]),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise RendezvousStateError(f"the rendezvous holds what makes no sense: {error}") from error


class StateHolder:
    """Reads the state and changes it; one host's, for any of its threads.

    Args:
        backend: Where it is.
    """

    def __init__(self, backend: RendezvousBackend) -> None:
        self._backend = backend

    def read(self) -> SharedState:
        """The state as it was lately.

        Raises:
            RendezvousConnectionError: It cannot be had.
        """
        found = self._backend.glance()
        return SharedState() if found is None else decode(found[0])

    def wait(self, seconds: float) -> None:
        """Sleep until the state may have changed, for so many seconds at most."""
        self._backend.wait_for_change(seconds)

    def close(self) -> None:
        """Let go of the backend."""
        self._backend.close()

    def change(self, change: Callable[[SharedState], SharedState], deadline: float) -> SharedState:
        """Change the state, as often as somebody else is faster.

        Args:
            change: Makes the new state of the old one; what it leaves as it is is not written.
            deadline: Monotonic time in seconds, after which it is given up.

        Returns:
            The new state.

        Raises:
            RendezvousConnectionError: It cannot be had, or others were faster to the last.
        """
        while time.monotonic() < deadline:
            found = self._backend.get_state()
            state = SharedState() if found is None else decode(found[0])
            following = change(state)
            if following == state:
                return state
            written = self._backend.set_state(
                encode(following), None if found is None else found[1]
            )
            if written is not None and written[2]:
                return following
            threading.Event().wait(random.uniform(0, _PAUSE))  # noqa: S311
        raise RendezvousConnectionError("the state of the rendezvous could not be changed in time")
