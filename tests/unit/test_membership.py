"""What follows from the store: ranks, rounds, budgets, the last call."""

from __future__ import annotations

import itertools

import pytest

from procession._membership import machine
from procession._membership.machine import (
    Call,
    CallOff,
    CallOver,
    CutOff,
    End,
    Ended,
    Kill,
    Leave,
    Left,
    Phase,
    Propose,
    Seen,
    Start,
    State,
    Stop,
    Tell,
)
from procession._membership.model import (
    Account,
    Evidence,
    Fate,
    Member,
    Outcome,
    Round,
    Terms,
    Verdict,
    View,
)
from procession._membership.rules import (
    calls_off,
    first_failure,
    is_over,
    leader,
    lost,
    next_round,
    waiting,
)
from procession._restarts.cause import Cause
from procession._restarts.options import read_policy
from procession._restarts.policy import RestartPolicy


def members(*hosts: str, ranks: tuple[int | None, ...] = ()) -> tuple[Member, ...]:
    wishes = itertools.chain(ranks, itertools.repeat(None))
    return tuple(
        Member(f"id-{n}", host, n, node_rank=wish)
        for n, (host, wish) in enumerate(zip(hosts, wishes, strict=False))
    )


def formed(view: View, terms: Terms) -> list[str]:
    """The hosts of the next round, in the order of their ranks."""
    following = next_round(view, terms, last_call_over=True)
    assert following is not None
    return [seat.host for seat in following.seats]


@pytest.mark.parametrize(
    ("hosts", "ranks", "expected"),
    [
        (("gpu10", "gpu9", "gpu1"), (), ["gpu1", "gpu9", "gpu10"]),
        (("b-2-a", "b-10", "b-2"), (), ["b-2", "b-2-a", "b-10"]),
        (("b", "a"), (0, 1), ["b", "a"]),
        (("c", "b", "a"), (None, 5, 2), ["a", "b", "c"]),
        (("same", "same", "same"), (), ["same", "same", "same"]),
    ],
)
def test_ranks_follow_wishes_then_names(
    hosts: tuple[str, ...], ranks: tuple[int | None, ...], expected: list[str]
) -> None:
    view = View(members(*hosts, ranks=ranks))
    assert formed(view, Terms(len(hosts), len(hosts))) == expected


def test_ranks_do_not_depend_on_the_order_of_arrival() -> None:
    orders = {
        tuple(formed(View(members(*hosts)), Terms(3, 3)))
        for hosts in itertools.permutations(("n1", "n2", "n3"))
    }
    assert orders == {("n1", "n2", "n3")}


def test_of_two_with_one_node_rank_the_first_counts() -> None:
    view = View(members("a", "b", "c", ranks=(0, 0, 1)))
    assert next_round(view, Terms(3, 3), last_call_over=True) is None
    assert formed(view, Terms(2, 2)) == ["a", "c"]


def test_the_first_round_waits_for_the_last_call() -> None:
    view = View(members("a", "b"))
    assert next_round(view, Terms(1, 3), last_call_over=False) is None
    assert formed(view, Terms(1, 3)) == ["a", "b"]
    full = next_round(view, Terms(1, 2), last_call_over=False)
    assert full is not None
    assert full.generation == 0


def after(*fates: Fate | None, gone: tuple[int, ...] = (), restarts: int = 0) -> View:
    """Hosts of a round with these fates; those in ``gone`` are not there any more."""
    seats = members(*(f"h{n}" for n in range(len(fates))))
    told = [
        Outcome(seat.id, fate, order)
        for order, (seat, fate) in enumerate(zip(seats, fates, strict=True))
        if fate is not None
    ]
    there = tuple(seat for n, seat in enumerate(seats) if n not in gone)
    return View(there, Round(4, seats, restarts), 7, tuple(told))


F, S, D, L, X = Fate.FAILED, Fate.STOPPED, Fate.SUCCEEDED, Fate.LEFT, Fate.FAILING


@pytest.mark.parametrize(
    ("view", "over"),
    [
        (after(None, None), False),
        (after(D, None), False),
        (after(D, None, gone=(0,)), False),  # who has succeeded may go
        (after(X, None), True),
        (after(F, None), True),
        (after(L, None, gone=(0,)), True),
        (after(None, None, gone=(1,)), True),
        (View(members("a")), False),
    ],
)
def test_a_round_is_over(view: View, over: bool) -> None:
    assert is_over(view) is over


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (after(None, None), None),
        (after(F, None), None),  # the other's workers may live
        (after(X, S), None),  # and so may these
        (after(F, S), (5, 1, ["h0", "h1"])),
        (after(None, S, gone=(0,)), (5, 1, ["h1"])),
        (after(F, D), (5, 1, ["h0", "h1"])),  # who had succeeded runs again
        (after(L, S, gone=(0,)), (5, 0, ["h1"])),  # to leave is no failure
        (after(None, F, gone=(0,)), (5, 1, ["h1"])),  # two at once count once
    ],
)
def test_the_round_after(view: View, expected: tuple[int, int, list[str]] | None) -> None:
    following = next_round(view, Terms(1, 2, max_restarts=1), last_call_over=False)
    found = following and (
        following.generation,
        following.restarts,
        [seat.host for seat in following.seats],
    )
    assert found == expected


@pytest.mark.parametrize(
    ("view", "status", "reason"),
    [
        (after(S, F), 1, "workers failed on h1"),
        (after(None, S, gone=(0,)), 1, "lost h0"),
        (after(D, D), 0, "succeeded"),
        (after(D, D, gone=(0,)), 0, "succeeded"),
    ],
)
def test_the_verdict(view: View, status: int, reason: str) -> None:
    following = next_round(view, Terms(1, 2), last_call_over=False)
    assert following is not None
    assert following.verdict is not None
    assert following.verdict.status == status
    assert following.verdict.reason.startswith(reason)


RAISED = Cause(exception="ValueError", frames="ab", words="rank 1 on h1 raised ValueError")


def failed_of(cause: Cause, *, lived: float = 0.0, before: Round | None = None) -> View:
    """A round of two hosts, of which the second has failed."""
    view = after(S, F)
    account = Account(7, "a report", cause=cause, lived=lived)
    stopped, failed = view.outcomes
    outcomes = (stopped, failed._replace(account=account))
    return view._replace(round=before or view.round, outcomes=outcomes)


def following(
    view: View, policy: RestartPolicy, *, rested: bool = False, most: int = 2
) -> Round | None:
    return next_round(view, Terms(2, 2, most, policy), last_call_over=True, rested=rested)


def test_a_rule_ends_the_run() -> None:
    found = following(failed_of(RAISED), read_policy(no_restart_on="exception"))
    assert found is not None
    assert found.verdict is not None
    assert found.verdict[:2] == (
        7,
        "workers failed on h1 (rank 1 on h1 raised ValueError; no further attempt: "
        "--no-restart-on exception)",
    )


def test_a_lost_host_is_a_class_of_failures() -> None:
    view = after(None, S, gone=(0,))
    terms = Terms(1, 2, 3, read_policy(no_restart_on="lost-host"))
    found = next_round(view, terms, last_call_over=True)
    assert found is not None
    assert found.verdict is not None
    assert found.verdict.reason.endswith("(lost h0; no further attempt: --no-restart-on lost-host)")


def test_the_cause_goes_on_to_the_next_round() -> None:
    twice = read_policy(no_restart_on="same-traceback")
    first = following(failed_of(RAISED), twice)
    assert first is not None
    assert first.cause == RAISED
    assert first.verdict is None
    again = following(failed_of(RAISED, before=first), twice)
    assert again is not None
    assert again.verdict is not None
    other = following(failed_of(RAISED._replace(frames="cd"), before=first), twice)
    assert other is not None
    assert other.verdict is None


def test_long_work_refills_the_budget() -> None:
    spent = Round(4, after(S, F).round.seats, restarts=2)  # type: ignore[union-attr]
    hours = read_policy(refill="1h")
    out = following(failed_of(RAISED, lived=3599, before=spent), hours)
    assert out is not None
    assert out.verdict is not None
    refilled = following(failed_of(RAISED, lived=3600, before=spent), hours)
    assert refilled is not None
    assert (refilled.restarts, refilled.worked) == (1, 3600)
    left = after(L, S, gone=(0,))._replace(round=spent)
    left = left._replace(
        outcomes=(left.outcomes[0], left.outcomes[1]._replace(account=Account(lived=9999)))
    )
    regrouped = next_round(left, Terms(1, 2, 2, hours), last_call_over=True)
    assert regrouped is not None
    assert regrouped.restarts == 0


def test_the_next_round_waits_out_the_pause() -> None:
    view, pauses = failed_of(RAISED), read_policy(backoff="4s")
    told = following(view, pauses)
    assert told is not None
    assert (told.generation, told.restarts, told.cause) == (4, 1, RAISED)
    assert told.seats == (view.round and view.round.seats)
    assert 3 <= told.pause <= 4
    decided = view._replace(round=told)
    assert following(decided, pauses) is None
    again = following(decided, read_policy(no_restart_on="exception"), rested=True)
    assert again is not None  # what was decided is not thought over
    assert again == Round(5, told.seats, 1, cause=RAISED)


def test_every_host_rests_and_the_leader_goes_on() -> None:
    view, terms = (
        failed_of(RAISED)._replace(called_off=True),
        Terms(2, 2, 2, read_policy(backoff="4s")),
    )
    told = following(view, terms.policy)
    assert told is not None
    for me, leads in (("id-0", True), ("id-1", False)):
        state = State(me, terms, Phase.JOINING, 4)
        state, effects = machine.step(state, Seen(view))
        assert effects == ((Propose(told, view.revision),) if leads else ())
        decided = view._replace(round=told, revision=8)
        state, effects = machine.step(state, Seen(decided))
        assert [type(effect) for effect in effects] == [machine.Rest]
        state, effects = machine.step(state, Seen(decided))
        assert effects == ()  # begun once
        state, effects = machine.step(state, machine.Rested(4))
        assert [type(effect) for effect in effects] == [Propose] * leads


def test_the_cause_is_what_was_told_first() -> None:
    seats = members("a", "b", "c")
    told = (
        Outcome("id-0", S, 1, account=Account(1, "stopped")),
        Outcome("id-1", F, 3, account=Account(1, "later")),
        Outcome("id-2", F, 2, account=Account(1, "first")),
    )
    cause = first_failure(View(seats, Round(0, seats), 1, told))
    assert cause is not None
    assert cause.account.text == "first"


def missing_a_peer(view: View, to_grow: bool = False) -> View:
    """A round in which whoever failed only tells that a peer was lost."""
    told = tuple(
        outcome._replace(account=Account(evidence=Evidence.PEER_LOST)) for outcome in view.outcomes
    )
    return view._replace(outcomes=told, called_off=True, to_grow=to_grow)


@pytest.mark.parametrize(
    ("view", "restarts"),
    [
        (missing_a_peer(after(F, L)), 0),  # the workers of who leaves go first
        (missing_a_peer(after(F, L, gone=(1,))), 0),
        (missing_a_peer(after(F, S), to_grow=True), 0),  # some host hears of it first
        (missing_a_peer(after(F, S)), 1),  # nobody knows why
        (after(F, L), 1),
        (after(F, S)._replace(called_off=True, to_grow=True), 1),
    ],
)
def test_who_only_misses_workers_that_were_stopped_has_not_failed(
    view: View, restarts: int
) -> None:
    following = next_round(view, Terms(1, 2, max_restarts=1), last_call_over=True)
    assert following is not None
    assert following.verdict is None
    assert following.restarts == restarts


def test_the_leader_says_whether_a_round_only_grows() -> None:
    here, terms = members("a", "b", "c"), Terms(1, 3, 1)
    running = View(here, Round(0, here[:2]), 1)
    for view, to_grow in (
        (running, True),
        (running._replace(outcomes=(Outcome("id-1", X),)), False),
        (running._replace(members=(here[0], here[2])), False),
    ):
        state = State("id-0", terms, Phase.RUNNING, 0)
        _, effects = machine.step(state, Seen(view))
        assert CallOff(0, to_grow) in effects


def test_whoever_waits_is_taken_in() -> None:
    here = members("a", "b", "c")
    view = View(here, Round(0, here[:2]), 1)
    assert waiting(view) == [here[2]]
    assert calls_off(view, Terms(1, 3))
    assert not calls_off(view._replace(called_off=True), Terms(1, 3))  # once is enough
    assert not calls_off(view, Terms(1, 2))  # full
    nearly_done = view._replace(outcomes=(Outcome("id-0", D),))
    assert not calls_off(nearly_done, Terms(1, 3))


def test_who_does_not_lead_sees_that_the_round_is_called_off() -> None:
    seats = members("a", "b", "c")
    mine = View(seats[:1], Round(0, seats), 1, leader="id-2", whole=False)
    assert not is_over(mine)  # that it knows of no others does not mean that they are lost
    assert is_over(mine._replace(called_off=True))
    assert leader(mine) == "id-2"


def test_the_leader_calls_the_round_of_a_lost_host_off_once() -> None:
    view = after(None, None, gone=(1,))
    state = State("id-0", Terms(1, 2, 1), Phase.RUNNING, 4)
    state, effects = machine.step(state, Seen(view))
    assert effects == (Stop(), CallOff(4))
    state, effects = machine.step(state, Seen(view))
    assert effects == ()
    state, effects = machine.step(state, Ended(S))
    settled = view._replace(outcomes=(Outcome("id-0", S),))
    state, effects = machine.step(state, Seen(settled))
    following = Round(5, members("h0"), 1, cause=Cause("host", words="lost h1"))
    assert effects == (Propose(following, 7),)
    assert machine.step(state, Seen(settled))[1] == ()  # it is on its way


def test_too_few_wait_for_more() -> None:
    view = after(None, S, gone=(0,))
    assert next_round(view, Terms(2, 2, 3), last_call_over=True) is None
    joined = view._replace(members=(*view.members, Member("new", "h9", 9)))
    assert formed(joined, Terms(2, 2, 3)) == ["h1", "h9"]


def test_who_was_in_stays_in() -> None:
    here = members("c", "a", "b")
    view = View(here, Round(0, here[1:]), 1, (Outcome("id-1", F), Outcome("id-2", S)))
    assert formed(view, Terms(2, 2, 1)) == ["a", "b"]


def test_an_abandoned_run_begins_anew() -> None:
    view = after(None, F, gone=(0, 1), restarts=3)
    assert lost(view)
    back = view._replace(members=(Member("new", "h0", 20),))
    assert next_round(back, Terms(1, 2), last_call_over=False) is None  # a first round, so a call
    following = next_round(back, Terms(1, 2), last_call_over=True)
    assert following == Round(5, back.members)


def test_a_port_told_with_an_outcome_is_used() -> None:
    seats = members("a")
    view = View(seats, Round(0, seats), 1, (Outcome("id-0", F, 1, port=777),))
    following = next_round(view, Terms(1, 1, 1), last_call_over=True)
    assert following is not None
    assert following.seats[0].port == 777


def test_the_leader_came_first() -> None:
    assert leader(View()) is None
    assert leader(View(members("z", "a"))) == "id-0"


ONE = members("a")
ROUND = Round(0, ONE)
JOINED = State("id-0", Terms(1, 1))
RUNNING = JOINED._replace(phase=Phase.RUNNING, generation=0, view=View(ONE, ROUND, 1))
VERDICT = Verdict(3, "because")


@pytest.mark.parametrize(
    ("state", "event", "phase", "effects"),
    [
        (JOINED, Seen(View(ONE)), Phase.JOINING, (Propose(ROUND, 0),)),
        (JOINED, Seen(View(ONE, ROUND, 1)), Phase.RUNNING, (Start(ROUND, 0),)),
        (JOINED, Seen(View()), Phase.ENDED, (End(None, "this host's lease has run out"),)),
        (JOINED, Left(), Phase.ENDED, (Leave(), End(None, "ended here"))),
        (RUNNING, Ended(D), Phase.DONE, (Tell(0, D),)),
        (RUNNING, Ended(F, Account(3, "r")), Phase.JOINING, (Tell(0, F, Account(3, "r")),)),
        (RUNNING, Seen(View()), Phase.ENDED, (Kill(), End(None, "this host's lease has run out"))),
        (RUNNING, CutOff("why"), Phase.ENDED, (Kill(), End(None, "why"))),
        (RUNNING, Left(), Phase.STOPPING, (Stop(),)),
        (
            RUNNING,
            Seen(View(ONE, ROUND._replace(verdict=VERDICT), 2)),
            Phase.STOPPING,
            (Stop(),),
        ),
        (
            RUNNING._replace(phase=Phase.DONE),
            Seen(View(ONE, ROUND._replace(verdict=VERDICT), 2)),
            Phase.ENDED,
            (Leave(), End(VERDICT)),
        ),
        (
            RUNNING._replace(phase=Phase.STOPPING, leaving=True),
            Ended(S),
            Phase.ENDED,
            (Tell(0, L), Leave(), End(None, "ended here")),
        ),
        (JOINED, CallOver(), Phase.JOINING, ()),  # nobody called any more
    ],
)
def test_a_step(
    state: State, event: machine.Event, phase: Phase, effects: tuple[machine.Effect, ...]
) -> None:
    following, found = machine.step(state, event)
    assert (following.phase, found) == (phase, effects)


def test_a_call_is_made_once_and_then_the_round_forms() -> None:
    state = State("id-0", Terms(1, 2))
    state, effects = machine.step(state, Seen(View(ONE)))
    assert effects == (Call(),)
    state, effects = machine.step(state, Seen(View(ONE)))
    assert effects == ()
    state, effects = machine.step(state, CallOver())
    assert effects == (Propose(ROUND, 0),)


def test_nothing_happens_after_the_end() -> None:
    state = JOINED._replace(phase=Phase.ENDED)
    assert machine.step(state, Seen(View(ONE, ROUND, 1))) == (state, ())
