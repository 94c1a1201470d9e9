"""What follows from the store, for whoever looks at it: the same for all. Pure.

That a round is over never turns false again: an outcome is not taken back, a member that is gone does
not come back under its id, and what was called off stays so. Whoever tells of a failure calls the round
off by the same write, and hosts stop their workers without asking anybody; of a host that is lost the
leader has to tell the others. Only the leader writes the next round, and only once every host of the
old one has said that its workers are gone, or has itself lost its lease (before which its agent has
killed them, see ``machine.CutOff``). The write is conditional on the round being as it was seen, so that
two hosts that both take themselves for the leader make one round, not two.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from procession._membership.cause import find
from procession._membership.model import Evidence, Fate, Member, Round, Verdict
from procession._membership.whole import whole
from procession._restarts.cause import HOST, START, Cause, detail
from procession._restarts.policy import Again, Budget, Enough, decide
from procession._restarts.words import enough_line

if TYPE_CHECKING:
    from procession._membership.model import Outcome, Terms, View
    from procession._restarts.policy import Decision

OVER = frozenset({Fate.FAILING, Fate.FAILED, Fate.STOPPED, Fate.LEFT})  # with it, the round is
_FINAL = {Fate.FAILED, Fate.STOPPED, Fate.SUCCEEDED, Fate.LEFT}


def leader(view: View) -> str | None:
    """Who writes rounds: whom the store has elected, else the host that has been there longest."""
    return view.leader or (view.members[0].id if view.members else None)


def is_over(view: View) -> bool:
    """Whether the workers of the round have to go."""
    now = view.round
    if now is None:
        return False
    if view.called_off or now.verdict is not None:
        return True
    return view.whole and (any(o.fate in OVER for o in view.outcomes) or bool(lost(view)))


def lost(view: View) -> list[Member]:
    """The hosts of the round that are gone without their last word, in a whole view."""
    here, fates = view.ids(), view.fates()
    seats = view.round.seats if view.round else ()
    return [s for s in seats if s.id not in here and fates.get(s.id) not in _FINAL]


def waiting(view: View) -> list[Member]:
    """The hosts that are there and have no part in the round."""
    seated = {seat.id for seat in view.round.seats} if view.round else set()
    return [member for member in view.members if member.id not in seated]


def is_spare(view: View, terms: Terms, host: str) -> bool:
    """Whether a gang runs that is full without this host."""
    now = view.round
    if now is None or now.rank(host) is not None or is_over(view):
        return False
    return len(now.seats) >= terms.most


def calls_off(view: View, terms: Terms) -> bool:
    """Whether the leader has to call the round off: it is over, or a host is to be taken in.

    Args:
        view: All of the store.
        terms: What the run was asked to be.
    """
    now = view.round
    if now is None or now.verdict is not None or view.called_off or _has_succeeded(view):
        return False
    return is_over(view) or _takes_in(view, now, terms)


def next_round(
    view: View, terms: Terms, *, last_call_over: bool, rested: bool = False
) -> Round | None:
    """What the leader has to write now, None for nothing.

    Args:
        view: All of the store.
        terms: What the run was asked to be.
        last_call_over: Hosts beyond the least number have had their time to come.
        rested: The pause that the round speaks of is over.
    """
    now = view.round
    if now is not None and now.verdict is not None:
        return None
    if now is None or _is_abandoned(view):
        return _first_round(view, terms, last_call_over=last_call_over)
    if _has_succeeded(view):
        return Round(now.generation, (), now.restarts, Verdict(0, "succeeded"))
    if not is_over(view) or not _is_settled(view):
        return None
    return _after(view, now, terms, rested=rested)


def is_first_call(view: View, terms: Terms) -> bool:
    """Whether a first round could form, and only hosts beyond the least number are waited for."""
    first = view.round is None or _is_abandoned(view)
    return first and terms.least <= len(_candidates(view)) < terms.most


def _is_abandoned(view: View) -> bool:
    """Whether all hosts of the round are gone: whoever is here now begins anew."""
    now = view.round
    if now is None or now.verdict is not None or _has_succeeded(view):
        return False
    return view.ids().isdisjoint(seat.id for seat in now.seats)


def _has_succeeded(view: View) -> bool:
    now, fates = view.round, view.fates()
    return now is not None and all(fates.get(s.id) is Fate.SUCCEEDED for s in now.seats)


def _first_round(view: View, terms: Terms, *, last_call_over: bool) -> Round | None:
    ready = _candidates(view)
    if len(ready) < terms.least or not (last_call_over or len(ready) >= terms.most):
        return None
    generation = view.round.generation + 1 if view.round else 0
    return Round(generation, _seated(view, ready, terms.most))


def _takes_in(view: View, now: Round, terms: Terms) -> bool:
    """Whether a host waits that has a place; not once workers have ended well: the rest soon will."""
    if len(now.seats) >= terms.most or view.outcomes:
        return False
    taken = {seat.node_rank for seat in now.seats} - {None}
    return any(member.node_rank not in taken for member in waiting(view))


def is_between(view: View) -> bool:
    """Whether no worker can be alive, and none starts before another round is written."""
    now = view.round
    if now is None:
        return True
    return now.verdict is None and is_over(view) and _is_settled(view)


def _is_settled(view: View) -> bool:
    """Whether no worker of the round can be alive any more."""
    here, fates = view.ids(), view.fates()
    seats = view.round.seats if view.round else ()
    return all(fates.get(s.id) in _FINAL or s.id not in here for s in seats)


def _after(view: View, now: Round, terms: Terms, *, rested: bool) -> Round | None:
    """The round with its verdict; with the pause that all have to know of; or the next one."""
    if now.pause:
        return _following(view, now, terms) if rested else None
    cause = cause_of_end(view)
    decision = _decision(view, now, terms, cause)
    if isinstance(decision, Enough):
        said = cause or Cause()  # of its kind the verdict tells
        refusal = enough_line(decision, said._replace(words=detail(said)))
        return Round(now.generation, (), now.restarts, _verdict(view, now, refusal))
    decided = now._replace(
        restarts=decision.budget.spent, cause=cause, worked=decision.worked, pause=decision.pause
    )
    return decided if decided.pause else _following(view, decided, terms)


def _following(view: View, now: Round, terms: Terms) -> Round | None:
    ready = _candidates(view)
    if len(ready) < terms.least:
        return None
    seats = _seated(view, ready, terms.most)
    return Round(now.generation + 1, seats, now.restarts, cause=now.cause, worked=now.worked)


def _decision(view: View, now: Round, terms: Terms, cause: Cause | None) -> Decision:
    uptime = max((outcome.account.lived for outcome in view.outcomes), default=0.0)
    if cause is None:
        return Again(Budget(0 if uptime >= terms.policy.refill else now.restarts))
    seed = f"{now.seats[0].id}-{now.generation}" if now.seats else ""
    budget = Budget(now.restarts, now.cause)
    return decide(terms.policy, terms.max_restarts, budget, cause, uptime, seed)


def cause_of_end(view: View) -> Cause | None:
    """What has ended the round, as a policy of restarts sees it; None where nothing has failed."""
    failed, gone, now = failed_first(view), lost(view), view.round
    if failed is not None:
        words = f"workers failed on {_host_of(now, failed)}"
        return failed.account.cause or Cause(exitcode=failed.account.status, words=words)
    if gone:
        return Cause(HOST, words=f"lost {' and '.join(seat.host for seat in gone)}")
    return None


def failed_first(view: View) -> Outcome | None:
    """The failure that has ended the round; None where it only tells that peers went, as some did."""
    failed = first_failure(view)
    if failed is not None and failed.account.evidence is Evidence.PEER_LOST and _peers_went(view):
        return None
    return failed


def _peers_went(view: View) -> bool:
    """Whether workers went that did not fail: with a lost host, one that left, or to take another in.

    Those of other hosts may miss them before they hear that the round is over.
    """
    return bool(lost(view)) or view.to_grow or Fate.LEFT in view.fates().values()


def _host_of(now: Round | None, outcome: Outcome) -> str:
    seats = now.seats if now else ()
    return next((seat.host for seat in seats if seat.id == outcome.id), "a host")


def first_failure(view: View) -> Outcome | None:
    """The failure that is taken for the cause of the round's end (``cause.py``)."""
    finding = find(view, leader(view) or "")
    return next((o for o in view.outcomes if finding is not None and o.id == finding.id), None)


def _verdict(view: View, now: Round, refusal: str) -> Verdict:
    """The end of a run.

    Args:
        view: As the leader has seen it.
        now: Its last round.
        refusal: Why there is no further attempt, "" where the budget is used up.
    """
    head, failed = leader(view) or "", failed_first(view)
    why = f" ({refusal})" if refusal else ""
    if failed is not None:
        cause = failed.account.cause
        deed = "could not be started" if cause and cause.kind == START else "failed"
        reason = f"workers {deed} on {_host_of(now, failed)}{why}"
        return Verdict(failed.account.status, reason, whole(view, now, find(view, head), head))
    names = " and ".join(seat.host for seat in lost(view))
    reason = f"lost {names}: nothing was heard for as long as a lease lasts{why}"
    return Verdict(1, reason, whole(view, now, None, head))


def _candidates(view: View) -> list[Member]:
    """Who can take part in the next round: of several with one ``--node-rank`` the first to come."""
    fates, ranks = view.fates(), set[int]()
    ready = []
    for member in view.members:
        if fates.get(member.id) is Fate.LEFT or member.node_rank in ranks:
            continue
        if member.node_rank is not None:
            ranks.add(member.node_rank)
        ready.append(member)
    return ready


def _seated(view: View, ready: list[Member], most: int) -> tuple[Member, ...]:
    """The seats of the next round: who was in the last one stays, then who came first."""
    new = {member.id for member in waiting(view)}
    chosen = sorted(ready, key=lambda member: member.id in new)[:most]
    ports = {outcome.id: outcome.port for outcome in view.outcomes if outcome.port}
    fresh = [member._replace(port=ports.get(member.id, member.port)) for member in chosen]
    return tuple(sorted(fresh, key=seat_order))


def seat_order(member: Member) -> tuple[bool, int, list[tuple[int, str]], int]:
    """Ranks follow ``--node-rank`` where it was given, then host names as people count them."""
    rank = member.node_rank
    parts = re.findall(r"\d+|\D+", member.host)
    name = [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
    return rank is None, rank or 0, name, member.since
