"""What hosts know of each other, as plain data. Pure.

A run is a series of rounds, numbered by generation. Each round is one gang: some hosts, in the order
of their ranks. All that is shared is in the store, as three kinds of records:

- a ``Member`` a host, which is there as long as the host's lease lives,
- one ``Round``, the latest, which is only ever written on the condition that it is as it was seen,
- an ``Outcome`` a host and round: what became of the host's workers in it,
- a mark that a round has been called off: its workers have to go,
- a ``Beat``, the time of the host that leads, by which clocks are compared (``clocks.py``).

The host that leads looks at all of it; the others at the round, and whether it has been called off.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple

from procession._restarts.cause import Cause
from procession._restarts.policy import RestartPolicy


class Terms(NamedTuple):
    """What a run was asked to be; the same on every host.

    Attributes:
        least: Hosts without which there is no gang.
        most: Hosts of a gang at most.
        max_restarts: How often workers may be started again after a failure or a lost host.
        policy: After which failures, and when.
    """

    least: int
    most: int
    max_restarts: int = 0
    policy: RestartPolicy = RestartPolicy()


class Member(NamedTuple):
    """A host that is there.

    Attributes:
        id: Of one life of its agent: who comes back after a crash is somebody else.
        host: Its name.
        since: The store's revision at which it came.
        workers: How many workers it starts.
        node_rank: The rank that it was given, None where it has no wish.
        address: By which the others reach it.
        port: A port that is free on it, for MASTER_PORT.
        door: A port at which its agent hears other hosts, 0 for none.
    """

    id: str
    host: str
    since: int
    workers: int = 1
    node_rank: int | None = None
    address: str = ""
    port: int = 0
    door: int = 0


class Beat(NamedTuple):
    """The time of whoever leads, as it was when it wrote that down.

    Attributes:
        id: The host's.
        at: Its clock then, ns.
        heard: Of who has read it: the reader's clock when it did, ns; 0 where it took no time.
    """

    id: str
    at: int
    heard: int = 0


class Evidence(IntEnum):
    """How much a failure tells by itself of whether it is a cause."""

    PEER_LOST = 0  # a connection or a collective broke: another went first
    OWN_ERROR = 1  # an exception, or a status
    KILLED = 2  # a signal that was not procession's


class Account(NamedTuple):
    """The end of a host's workers as the host gives account of it.

    Attributes:
        status: The exit status that tells of a failure.
        text: The failure in words, where no worker tells of it.
        story: What its workers have come to, as JSON (``_report/stories.py``).
        failed_at: Its clock when the first worker failed, ns; 0 where that is not known.
        evidence: What that failure tells.
        told_at: Its clock when it told this, ns; 0 where it took no time.
        beat: The last that it had heard of the leader's clock.
        cause: The failure as a policy of restarts sees it, None where nothing failed.
        lived: Seconds for which the host's workers ran until the gang began to end.
    """

    status: int = 1
    text: str = ""
    story: str = ""
    failed_at: int = 0
    evidence: Evidence = Evidence.OWN_ERROR
    told_at: int = 0
    beat: Beat | None = None
    cause: Cause | None = None
    lived: float = 0.0


class Verdict(NamedTuple):
    """How a run ended; the same for all hosts.

    Attributes:
        status: 0 after success, else the root cause's exit status.
        reason: In words.
        report: What happened on each host, as JSON (``_membership/whole.py``).
    """

    status: int
    reason: str
    report: str = ""


class Round(NamedTuple):
    """One gang.

    Attributes:
        generation: From 0 up; in every key, log tree and environment.
        seats: The hosts, as they were when it formed, in the order of their ranks.
        restarts: Failures and lost hosts so far, or since the budget was refilled.
        verdict: The run is over; it has no seats any more.
        cause: What ended the gang before, None where nothing had failed.
        worked: Seconds that the gang before ran, where that has refilled the budget; else 0.
        pause: Seconds before the next gang, once this one has failed and nothing is left of it:
            ``restarts``, ``cause`` and ``worked`` are then what the next one will have. 0 until then.
    """

    generation: int
    seats: tuple[Member, ...]
    restarts: int = 0
    verdict: Verdict | None = None
    cause: Cause | None = None
    worked: float = 0.0
    pause: float = 0.0

    def rank(self, member: str) -> int | None:
        """A host's rank in it, None where it has no part."""
        return next((n for n, seat in enumerate(self.seats) if seat.id == member), None)


class Fate(str, Enum):
    """What became of a host's workers in a round."""

    FAILING = "failing"  # one has failed, the others of this host are being stopped
    FAILED = "failed"
    STOPPED = "stopped"  # because of somebody else
    SUCCEEDED = "succeeded"
    LEFT = "left"  # somebody ended the agent of this host


class Outcome(NamedTuple):
    """What became of one host's workers in the current round.

    Attributes:
        id: The host's.
        fate: What.
        order: The store's revision at which this was first told: no clock is compared.
        port: A port that is free on the host now, for MASTER_PORT of the next round.
        account: Of the end of its workers.
        heard: The reader's clock when it heard of it, ns; 0 where it took no time.
    """

    id: str
    fate: Fate
    order: int = 0
    port: int = 0
    account: Account = Account()
    heard: int = 0


class View(NamedTuple):
    """The store as one host has seen it at one revision.

    Attributes:
        members: Who is there, by ``since``.
        round: The latest round, None before the first.
        revision: Of the round's record, 0 where there is none.
        outcomes: Of that round.
        called_off: That round has been.
        leader: Id of the host that the store has elected to write rounds; empty where it elects
            none, and the host leads that has been there longest.
        whole: Whether that is all; else a host that does not lead has left out ``outcomes``, and of
            ``members`` all but itself.
        beat: The last of the leader's clock.
        to_grow: It was called off only to take a host in, when nothing had failed.
    """

    members: tuple[Member, ...] = ()
    round: Round | None = None
    revision: int = 0
    outcomes: tuple[Outcome, ...] = ()
    called_off: bool = False
    leader: str = ""
    whole: bool = True
    beat: Beat | None = None
    to_grow: bool = False

    def fate(self, member: str) -> Fate | None:
        """What became of a host's workers in the current round, None while they run."""
        return next((outcome.fate for outcome in self.outcomes if outcome.id == member), None)

    def is_there(self, member: str) -> bool:
        """Whether a host's lease lives."""
        return any(each.id == member for each in self.members)

    def ids(self) -> set[str]:
        """Whose lease lives."""
        return {member.id for member in self.members}

    def fates(self) -> dict[str, Fate]:
        """What became of hosts' workers in the current round, by host; of others they run."""
        return {outcome.id: outcome.fate for outcome in self.outcomes}


class Roll(NamedTuple):
    """Who is there, for a person: no decision hangs on it.

    Attributes:
        members: Some of them, or all.
        total: How many there are.
    """

    members: tuple[Member, ...]
    total: int
