"""By how much the clocks of two hosts differ, from what they write each other anyway. Pure.

Whoever leads writes down what its clock shows (a ``Beat``), and a host reads that later than it was
written: so the host's clock is ahead by at most the difference of the two times. The host tells of the
end of its workers, with its own time, and the leader reads that later: so the host's clock is ahead by at
least the difference of those. What lies between is the way there and back, as in NTP (RFC 5905); the
true offset is in it whatever the ways are like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from procession._membership.model import Beat, Outcome

_DRIFT = 10_000  # one part of so many: two crystals, each up to 50 millionths off


class Bounds(NamedTuple):
    """Between which two values something lies, ns.

    Attributes:
        least: It is this at least.
        most: It is this at most.
    """

    least: int
    most: int

    @property
    def middle(self) -> int:
        """The value that is wrong by ``doubt`` at most."""
        return (self.least + self.most) // 2

    @property
    def doubt(self) -> int:
        """By how much the middle may be wrong."""
        return (self.most - self.least + 1) // 2


def ahead(outcome: Outcome, leader: str) -> Bounds | None:
    """By how much the clock of a host is ahead of the leader's.

    Args:
        outcome: What the host has told, as the leader has heard it.
        leader: The leader's id.

    Returns:
        The bounds; None where the two have not heard of each other's clocks, or somebody has set one.
    """
    if outcome.id == leader:
        return Bounds(0, 0)
    told, beat = outcome.account.told_at, outcome.account.beat
    if beat is None or beat.id != leader or not (beat.heard and told and outcome.heard):
        return None
    drifted = max(told - beat.heard, 0) // _DRIFT
    bounds = Bounds(told - outcome.heard, beat.heard - beat.at + drifted)
    return bounds if bounds.least <= bounds.most else None


def tighter(old: Beat | None, new: Beat | None) -> Beat | None:
    """Which of two readings of the leader's clock tells more; the later one where that is equal.

    Args:
        old: The one that was kept so far.
        new: A later one.
    """
    if old is None or new is None:
        return old or new
    drifted = max(new.heard - old.heard, 0) // _DRIFT
    as_late = new.heard - new.at <= old.heard - old.at + drifted
    return new if as_late or new.id != old.id or not old.heard else old


def moment(at: int, offset: Bounds | None) -> Bounds | None:
    """When something was, on the leader's clock.

    Args:
        at: When, on the clock of the host; 0 where that is not known.
        offset: By how much that is ahead.
    """
    if not at or offset is None:
        return None
    return Bounds(at - offset.most, at - offset.least)
