"""The workers of this host, which start once all hosts of the round have come together."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from procession._agent.muster import Door, Muster, greeting
from procession._hub.listening import listen
from procession._membership.machine import Ended, Failing
from procession._membership.model import Account, Fate
from procession._os.ports import free_port
from procession._restarts.cause import not_started
from procession.errors import ProcessionError, RendezvousConnectionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from procession._membership.model import Member, Round
    from procession.cli.run.crew import HostCrew


class GatheringCrew:
    """A crew that looks whether hosts reach each other before it starts.

    Args:
        crew: It.
        door: Where the others come to this host, None for nowhere.
        is_good: Whether this host's lease cannot have run out.
        lease: Seconds that a host's lasts.
    """

    def __init__(
        self, crew: HostCrew, door: Door | None, is_good: Callable[[], bool], lease: float
    ) -> None:
        self._crew = crew
        self._door = door
        self._is_good = is_good
        self._lease = lease
        self._muster: Muster | None = None
        self._seat: tuple[Round, int] | None = None  # that waits for the muster
        self._ended: list[Ended] = []

    def start(self, now: Round, rank: int) -> None:
        """Start the workers of a seat, or begin to; ``wait`` tells if it fails later.

        Raises:
            ProcessionError: They cannot be started; none is left.
        """
        if len(now.seats) == 1 or not all(seat.door for seat in now.seats):
            self._crew.start(now, rank)
            return
        if rank == 0 and self._door is not None:
            self._door.expect(greeting(now), len(now.seats))
        self._seat, self._muster = (now, rank), Muster(now, rank, self._lease)
        self._muster.start()

    def stop(self) -> None:
        """Begin to stop them, with their grace; asked again, without."""
        if self._give_up():
            self._ended.append(Ended(Fate.STOPPED))
        else:
            self._crew.stop()

    def kill(self) -> None:
        """Kill them; none is left on return."""
        self._give_up()
        self._crew.kill()

    def wait(self, fd: int, timeout: float) -> list[Failing | Ended]:
        """Sleep until something happens to them, ``fd`` is readable or so many seconds are over.

        Raises:
            SignalException: A signal to end this launcher has come.
        """
        if self._ended:
            ended, self._ended = self._ended, []
            return [*ended]
        if self._muster is None:
            return self._crew.wait(fd, timeout)
        found = self._crew.wait(fd, timeout, self._muster.fileno())
        return [*found, *self._gathered(self._muster)] if self._muster.is_over else found

    def _gathered(self, muster: Muster) -> list[Ended]:
        seat, problem = self._seat, muster.problem
        self._give_up()
        if problem:
            return [_failed(RendezvousConnectionError(problem))]
        if seat is None or not self._is_good():
            return []  # the lease is lost, as the meeting is about to say
        try:
            self._crew.start(*seat)
        except ProcessionError as error:
            return [_failed(error)]
        return []

    def _give_up(self) -> bool:
        """Whether there was something to give up."""
        muster, self._muster, self._seat = self._muster, None, None
        if muster is not None:
            muster.close()
        return muster is not None

    def free_port(self) -> int:
        """Find a port for the next round."""
        return self._crew.free_port()


def at_door(member: Member) -> tuple[Member, Door | None]:
    """A host with a door at its address; without, where that is another's (NAT): then nothing is tried.

    Called once a place of its own listens, whose port the workers cannot be promised then.
    """
    member = member._replace(port=free_port())
    with suppress(OSError):
        door = Door(listen(member.address, 0))
        door.start()
        return member._replace(door=door.port), door
    return member, None


def _failed(error: ProcessionError) -> Ended:
    cause = not_started(error.exit_code, str(error))
    return Ended(Fate.FAILED, Account(error.exit_code, str(error), cause=cause))
