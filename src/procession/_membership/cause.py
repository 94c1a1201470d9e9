"""Which host's failure was first, where clocks differ by more than is known. Pure.

    clocks say                                   the root cause is
    one failed before all others                 that
    several failed within what is uncertain      of these the one that tells most by itself: who was
                                                 killed, else who failed by an error of its own, else
                                                 whose connection broke; of equals the one whose time
                                                 is first, or of which the store was told first
    nothing, as they have not been compared      likewise, of all

A host that is gone without a word has no time: it is the cause where all others only tell that a peer
was lost. And who is killed is told of a little later than its peers may miss it (``_report/rootcause.py``,
``causes_first``): so it also comes before those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from procession._membership.clocks import ahead, moment
from procession._membership.model import Evidence, Fate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from procession._membership.clocks import Bounds
    from procession._membership.model import Outcome, View


_CLOSING = 2_000_000_000  # ns; as in _report/rootcause.py


class Suspect(NamedTuple):
    """The first failure of a host.

    Attributes:
        id: The host's.
        when: On the leader's clock; None where that is not known.
        evidence: What it tells by itself.
        order: When the store was told of it, compared with others.
    """

    id: str
    when: Bounds | None
    evidence: Evidence
    order: int


class Finding(NamedTuple):
    """Which failure is taken for the cause.

    Attributes:
        id: The host's.
        rivals: The hosts that may have failed before it, as far as clocks can tell.
        by: What decided: ``clocks``, ``evidence`` or ``order`` (of times that overlap, or of the store).
    """

    id: str
    rivals: tuple[str, ...]
    by: str


def first(suspects: Sequence[Suspect]) -> Finding | None:
    """Find the cause; None among none."""
    known = [suspect.when for suspect in suspects if suspect.when is not None]
    if not suspects:
        return None
    end = min((when.most for when in known), default=0)
    able = [s for s in suspects if s.when is None or s.when.least <= end]
    if all(suspect.evidence is Evidence.PEER_LOST for suspect in able):
        able += [s for s in suspects if _was_missed(s, end)]
    most = max(suspect.evidence for suspect in able)
    telling = [suspect for suspect in able if suspect.evidence is most]
    found = min(telling, key=_order(telling))
    rivals = tuple(suspect.id for suspect in able if suspect is not found)
    by = "order" if len(telling) > 1 else "evidence"
    return Finding(found.id, rivals, by if rivals else "clocks")


def _was_missed(suspect: Suspect, by: int) -> bool:
    """Whether somebody was killed, and told of so late that peers may have missed it before."""
    killed = suspect.evidence is Evidence.KILLED and suspect.when is not None
    return killed and suspect.when is not None and by < suspect.when.least <= by + _CLOSING


def _order(telling: Sequence[Suspect]) -> Callable[[Suspect], tuple[int, int]]:
    """By time where all times are known, else by the store's order alone."""
    timed = all(suspect.when is not None for suspect in telling)
    return lambda suspect: (suspect.when.middle if timed and suspect.when else 0, suspect.order)


def find(view: View, leader: str) -> Finding | None:
    """Find the cause of the end of a round, among what its hosts have told.

    Args:
        view: As the leader has seen it.
        leader: Its id.
    """
    return first([_suspect(outcome, leader) for outcome in view.outcomes if is_failure(outcome)])


def is_failure(outcome: Outcome) -> bool:
    """Whether workers of the host have failed by themselves."""
    return outcome.fate in (Fate.FAILING, Fate.FAILED)


def _suspect(outcome: Outcome, leader: str) -> Suspect:
    account = outcome.account
    when = moment(account.failed_at, ahead(outcome, leader))
    return Suspect(outcome.id, when, account.evidence, outcome.order)
