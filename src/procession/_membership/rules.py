"""What follows from the store, for whoever looks at it: the same for all. Pure.

That a round is over can be seen by every host for itself, and never turns false again: an outcome is
not taken back, a member that is gone does not come back under its id, and ``regroup`` stays. So hosts
stop their workers without asking anybody. Only the leader writes the next round, and only once every
host of the old one has said that its workers are gone, or has itself lost its lease (before which its
agent has killed them, see ``machine.Fenced``). The write is conditional on the round being as it was
seen, so that two hosts that both take themselves for the leader make one round, not two.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from procession._membership.model import Fate, Member, Round, Verdict

if TYPE_CHECKING:
    from procession._membership.model import Outcome, Terms, View

_OVER = {Fate.FAILING, Fate.FAILED, Fate.STOPPED, Fate.LEFT}
_FINAL = {Fate.FAILED, Fate.STOPPED, Fate.SUCCEEDED, Fate.LEFT}


def leader(view: View) -> str | None:
    """Who writes rounds: the host that has been there longest."""
    return view.members[0].id if view.members else None


def is_over(view: View) -> bool:
    """Whether the workers of the round have to go."""
    now = view.round
    if now is None:
        return False
    told = any(outcome.fate in _OVER for outcome in view.outcomes)
    return told or now.regroup or now.verdict is not None or bool(lost(view))


def lost(view: View) -> list[Member]:
    """The hosts of the round that are gone without their last word."""
    seats = view.round.seats if view.round else ()
    return [s for s in seats if not view.is_there(s.id) and view.fate(s.id) not in _FINAL]


def waiting(view: View) -> list[Member]:
    """The hosts that are there and have no part in the round."""
    return [m for m in view.members if view.round is None or view.round.rank(m.id) is None]


def next_round(view: View, terms: Terms, *, last_call_over: bool) -> Round | None:
    """What the leader has to write now, None for nothing.

    Args:
        view: The store.
        terms: What the run was asked to be.
        last_call_over: Hosts beyond the least number have had their time to come.
    """
    now = view.round
    if now is not None and now.verdict is not None:
        return None
    if now is None or _is_abandoned(view):
        return _first_round(view, terms, last_call_over=last_call_over)
    if _has_succeeded(view):
        return now._replace(verdict=Verdict(0, "succeeded"))
    if not is_over(view):
        return _regrouped(view, now, terms)
    if not _is_settled(view):
        return None
    return _after(view, now, terms)


def is_first_call(view: View, terms: Terms) -> bool:
    """Whether a first round could form, and only hosts beyond the least number are waited for."""
    first = view.round is None or _is_abandoned(view)
    return first and terms.least <= len(_candidates(view)) < terms.most


def _is_abandoned(view: View) -> bool:
    """Whether all hosts of the round are gone: whoever is here now begins anew."""
    now = view.round
    if now is None or now.verdict is not None or _has_succeeded(view):
        return False
    return not any(view.is_there(seat.id) for seat in now.seats)


def _has_succeeded(view: View) -> bool:
    now = view.round
    return now is not None and all(view.fate(s.id) is Fate.SUCCEEDED for s in now.seats)


def _first_round(view: View, terms: Terms, *, last_call_over: bool) -> Round | None:
    ready = _candidates(view)
    if len(ready) < terms.least or not (last_call_over or len(ready) >= terms.most):
        return None
    generation = view.round.generation + 1 if view.round else 0
    return Round(generation, _seated(view, ready, terms.most))


def _regrouped(view: View, now: Round, terms: Terms) -> Round | None:
    """Take in a host that waits; but not once workers have ended well, and the rest soon will."""
    full = len(now.seats) >= terms.most
    if full or view.outcomes or not _newcomers(view, now):
        return None
    return now._replace(regroup=True)


def _newcomers(view: View, now: Round) -> list[Member]:
    taken = {seat.node_rank for seat in now.seats} - {None}
    return [member for member in waiting(view) if member.node_rank not in taken]


def _is_settled(view: View) -> bool:
    """Whether no worker of the round can be alive any more."""
    seats = view.round.seats if view.round else ()
    return all(view.fate(s.id) in _FINAL or not view.is_there(s.id) for s in seats)


def _after(view: View, now: Round, terms: Terms) -> Round | None:
    gone, cause = lost(view), first_failure(view)
    restarts = now.restarts + (1 if gone or cause else 0)
    if restarts > terms.max_restarts:
        return now._replace(verdict=_verdict(now, gone, cause))
    ready = _candidates(view)
    if len(ready) < terms.least:
        return None
    return Round(now.generation + 1, _seated(view, ready, terms.most), restarts)


def first_failure(view: View) -> Outcome | None:
    """The failure that the store was told of first."""
    failed = [o for o in view.outcomes if o.fate in (Fate.FAILING, Fate.FAILED)]
    return min(failed, key=lambda outcome: outcome.order, default=None)


def _verdict(now: Round, gone: list[Member], cause: Outcome | None) -> Verdict:
    if cause is not None:
        host = now.seats[now.rank(cause.id) or 0].host
        return Verdict(cause.account.status, f"workers failed on {host}", cause.account.text)
    names = " and ".join(seat.host for seat in gone)
    return Verdict(1, f"lost {names}: nothing was heard for as long as a lease lasts")


def _candidates(view: View) -> list[Member]:
    """Who can take part in the next round: of several with one ``--node-rank`` the first to come."""
    ranks: set[int] = set()
    ready = []
    for member in view.members:
        if view.fate(member.id) is Fate.LEFT or member.node_rank in ranks:
            continue
        if member.node_rank is not None:
            ranks.add(member.node_rank)
        ready.append(member)
    return ready


def _seated(view: View, ready: list[Member], most: int) -> tuple[Member, ...]:
    """The seats of the next round: who was in the last one stays, then who came first."""
    now = view.round
    stays = [member for member in ready if now is not None and now.rank(member.id) is not None]
    comes = [member for member in ready if member not in stays]
    chosen = [*stays, *comes][:most]
    ports = {outcome.id: outcome.port for outcome in view.outcomes if outcome.port}
    fresh = [member._replace(port=ports.get(member.id, member.port)) for member in chosen]
    return tuple(sorted(fresh, key=seat_order))


def seat_order(member: Member) -> tuple[bool, int, list[tuple[int, str]], int]:
    """Ranks follow ``--node-rank`` where it was given, then host names as people count them."""
    rank = member.node_rank
    parts = re.findall(r"\d+|\D+", member.host)
    name = [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
    return rank is None, rank or 0, name, member.since
