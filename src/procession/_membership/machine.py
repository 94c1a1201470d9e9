"""One host's part in a run: state and event in, new state and effects out. No I/O, no clock.

            Seen: my seat   Seen: over  Failing       Ended              Cut off  Left
JOINING     start           -           -             -                  end      leave
RUNNING     -               stop        tell, go on   tell; done or not  kill     stop, leave
STOPPING    -               -           tell          tell; join         kill     leave
DONE        -               join        -             -                  end      leave
ENDED       -               -           -             -                  -        -

JOINING waits for a seat in a round that is not over, and rests first where a failure asks for it; DONE has all its workers ended well and waits
for the others, without end: their failure would have it run again. The verdict ends it everywhere,
once its own workers are gone.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, NamedTuple

from procession._membership.model import Account, Fate, Round, Terms, Verdict, View
from procession._membership.rules import calls_off, is_first_call, is_over, leader, next_round
from procession._restarts.policy import Again, Budget

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias


class Phase(Enum):
    """Where a host stands."""

    JOINING = auto()
    RUNNING = auto()
    STOPPING = auto()
    DONE = auto()
    ENDED = auto()


class State(NamedTuple):
    """All that one host's decisions depend on.

    Attributes:
        me: This host's id.
        terms: What the run was asked to be.
        phase: Where it stands.
        generation: The last round that it had a part in, -1 for none.
        view: The store as it was last seen.
        last_call_over: Hosts beyond the least number have had their time to come.
        calling: That time runs.
        resting: Generation of the last round after which it has begun to rest, -1 for none.
        rested: Likewise, after which it has rested.
        leaving: Somebody ended this agent.
        proposed: Revision of the round after which it has proposed another, -1 for none: what is on
            its way is not written again.
        called_off: Generation of the last round that it has called off, -1 for none.
    """

    me: str
    terms: Terms
    phase: Phase = Phase.JOINING
    generation: int = -1
    view: View = View()
    last_call_over: bool = False
    calling: bool = False
    resting: int = -1
    rested: int = -1
    leaving: bool = False
    proposed: int = -1
    called_off: int = -1


# What happens.


class Seen(NamedTuple):
    """The store is such."""

    view: View


class Failing(NamedTuple):
    """A worker of this host has failed; the others are being stopped."""


class Ended(NamedTuple):
    """No worker of this host is left.

    Attributes:
        fate: SUCCEEDED, FAILED or STOPPED.
        account: Of a failure.
    """

    fate: Fate
    account: Account = Account()


class CallOver(NamedTuple):
    """Hosts beyond the least number have had their time to come."""


class Rested(NamedTuple):
    """The pause after a round that failed is over.

    Attributes:
        generation: The round's.
    """

    generation: int


class CutOff(NamedTuple):
    """The lease may run out: the store has not been reached for so long, or says that it has."""

    reason: str


class Left(NamedTuple):
    """Somebody ends this agent: a signal, or a time that has run out."""


Event: TypeAlias = "Seen | Failing | Ended | CallOver | Rested | CutOff | Left"


# What is to be done.


class Propose(NamedTuple):
    """Write the round, if the store's is still of that revision."""

    round: Round
    revision: int


class CallOff(NamedTuple):
    """Have all hosts stop their workers of a round.

    Attributes:
        generation: The round's.
        to_grow: Only to take a host in; nothing has failed, as far as is known.
    """

    generation: int
    to_grow: bool = False


class Tell(NamedTuple):
    """Write what became of this host's workers in a round; all but success calls it off."""

    generation: int
    fate: Fate
    account: Account = Account()


class Start(NamedTuple):
    """Start this host's workers."""

    round: Round
    rank: int


class Stop(NamedTuple):
    """Stop this host's workers, with their grace."""


class Kill(NamedTuple):
    """Kill this host's workers now: another gang may start as soon as the lease has run out."""


class Call(NamedTuple):
    """Have ``CallOver`` happen after the time of a last call."""


class Rest(NamedTuple):
    """Have ``Rested`` happen after the pause of a restart, and say why.

    Attributes:
        generation: Of the round that failed.
        again: The restart.
    """

    generation: int
    again: Again


class Leave(NamedTuple):
    """Take this host's member out of the store."""


class End(NamedTuple):
    """This host's part is over.

    Attributes:
        verdict: How the run ended; None where it goes on without this host.
        reason: Why it ended here, where there is no verdict.
    """

    verdict: Verdict | None
    reason: str = ""


Effect: TypeAlias = "Propose | CallOff | Tell | Start | Stop | Kill | Call | Rest | Leave | End"
Step: TypeAlias = "tuple[State, tuple[Effect, ...]]"


def step(state: State, event: Event) -> Step:
    """Return the state after an event, and the effects to carry out, in order."""
    if state.phase is Phase.ENDED:
        return state, ()
    return _ON[type(event)](state, event)


def _seen(state: State, event: Seen) -> Step:
    state, view = state._replace(view=event.view), event.view
    if not view.is_there(state.me):
        return _cut_off(state, CutOff("this host's lease has run out"))
    if view.round is not None and view.round.verdict is not None:
        return _judged(state, view.round.verdict)
    if state.phase is Phase.JOINING:
        return _lead(*_take_seat(state))
    if state.phase in (Phase.RUNNING, Phase.DONE) and _mine_is_over(state):
        if state.phase is Phase.DONE:
            return _lead(state._replace(phase=Phase.JOINING), ())
        return _lead(state._replace(phase=Phase.STOPPING), (Stop(),))
    return _lead(state, ())


def _failing(state: State, _event: Failing) -> Step:
    return state, (Tell(state.generation, Fate.FAILING),)


def _call_over(state: State, _event: CallOver) -> Step:
    if not state.calling:
        return state, ()
    return _lead(state._replace(last_call_over=True, calling=False), ())


def _rested(state: State, event: Rested) -> Step:
    return _lead(state._replace(rested=event.generation), ())


def _mine_is_over(state: State) -> bool:
    """Whether the round of this host's workers is over, or a later one is there."""
    now = state.view.round
    return now is not None and (now.generation > state.generation or is_over(state.view))


def _judged(state: State, verdict: Verdict) -> Step:
    if state.phase is Phase.RUNNING:
        return state._replace(phase=Phase.STOPPING), (Stop(),)
    if state.phase is Phase.STOPPING:
        return state, ()
    return state._replace(phase=Phase.ENDED), (Leave(), End(verdict))


def _take_seat(state: State) -> Step:
    """Start in a round that has a seat for this host; a seat in one that is over is given up."""
    now = state.view.round
    rank = now.rank(state.me) if now is not None else None
    if now is None or rank is None or now.generation <= state.generation:
        return state, ()
    mine = state._replace(generation=now.generation)
    if is_over(state.view):
        return mine, (Tell(now.generation, Fate.STOPPED),)
    return mine._replace(phase=Phase.RUNNING), (Start(now, rank),)


def _lead(state: State, effects: tuple[Effect, ...]) -> Step:
    """Call the round off or write the next one, where this host is the leader and it is time."""
    state, effects = _rest(state, effects)
    view = state.view
    if leader(view) != state.me or not view.whole:
        return state._replace(calling=False, last_call_over=False), effects
    now, rested = view.round, view.round is not None and state.rested == view.round.generation
    if now is not None and state.called_off < now.generation and calls_off(view, state.terms):
        state = state._replace(called_off=now.generation)
        effects = (*effects, CallOff(now.generation, to_grow=not is_over(view)))
    proposal = next_round(view, state.terms, last_call_over=state.last_call_over, rested=rested)
    if proposal is not None:
        if state.proposed == view.revision:
            return state, effects
        return state._replace(proposed=view.revision), (*effects, Propose(proposal, view.revision))
    return _call(state, effects)


def _rest(state: State, effects: tuple[Effect, ...]) -> Step:
    """Begin the pause that the round speaks of: every host for itself, whoever leads when it is over."""
    now = state.view.round
    if now is None or not now.pause or state.resting >= now.generation:
        return state, effects
    again = Again(Budget(now.restarts, now.cause), now.pause, now.worked)
    return state._replace(resting=now.generation), (*effects, Rest(now.generation, again))


def _call(state: State, effects: tuple[Effect, ...]) -> Step:
    """Give hosts beyond the least number their time to come, where that is what is waited for."""
    if not is_first_call(state.view, state.terms):
        return state._replace(calling=False, last_call_over=False), effects
    if state.calling:
        return state, effects
    return state._replace(calling=True), (*effects, Call())


def _ended(state: State, event: Ended) -> Step:
    if state.leaving:
        return state._replace(phase=Phase.ENDED), (
            Tell(state.generation, Fate.LEFT, event.account),
            Leave(),
            End(None, "ended here"),
        )
    phase = Phase.JOINING
    if event.fate is Fate.SUCCEEDED and state.phase is Phase.RUNNING:
        phase = Phase.DONE
    verdict = state.view.round.verdict if state.view.round else None
    if verdict is not None:
        return state._replace(phase=Phase.ENDED), (Leave(), End(verdict))
    return state._replace(phase=phase), (Tell(state.generation, event.fate, event.account),)


def _cut_off(state: State, event: CutOff) -> Step:
    alive = state.phase in (Phase.RUNNING, Phase.STOPPING)
    effects: tuple[Effect, ...] = (Kill(),) if alive else ()
    return state._replace(phase=Phase.ENDED), (*effects, End(None, event.reason))


def _left(state: State, _event: Left) -> Step:
    if state.phase is Phase.RUNNING:
        return state._replace(phase=Phase.STOPPING, leaving=True), (Stop(),)
    if state.phase is Phase.STOPPING:
        return state._replace(leaving=True), ()
    return state._replace(phase=Phase.ENDED), (
        *_give_up_seat(state),
        Leave(),
        End(None, "ended here"),
    )


def _give_up_seat(state: State) -> tuple[Effect, ...]:
    """What to tell of a round whose seat this host has not taken."""
    now = state.view.round
    if now is None or now.generation <= state.generation or now.rank(state.me) is None:
        return ()
    return (Tell(now.generation, Fate.LEFT),)


_ON: dict[type, Callable[[State, Any], Step]] = {
    Seen: _seen,
    Failing: _failing,
    Ended: _ended,
    CallOver: _call_over,
    Rested: _rested,
    CutOff: _cut_off,
    Left: _left,
}
