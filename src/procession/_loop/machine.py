"""A gang's life as a table: state and event in, new state and effects out. No I/O, no clock.

              BORN      DIED         ALL_STARTED  STOP_ASKED  ASKED_AGAIN  GRACE_OVER  QUIET  SWEPT  GUARDIAN_LOST
    STARTING  count     count        run or stop  stop        -            -           -      -      take over
    RUNNING   count     run or stop  -            stop        -            -           -      -      take over
    STOPPING  signal    count        -            sooner      now          sweep       end    -      take over
    SWEEPING  count     count        -            -           -            -           -      end    take over
    ENDED     -         -            -            -           -            -           -      -      -

"Run or stop": a gang runs on while somebody lives and nobody has failed; deaths among workers that
are still being started are judged when all have been. What a gang leaves that has ended well may end by
itself for a moment, whatever the grace: a ``tee`` behind a pipe has yet to write what it was told. Every other way out is the same stop: the death
signal to those who live, one shared grace, then SIGKILL for whatever is left. A grace of nothing
goes to SIGKILL at once. Whoever is born into a stop gets the signal too. A further ask may only bring
the end of the grace nearer ("sooner"); a further termination signal ends it ("now"), if it is no
echo of the first. QUIET is the guardian's word that no descendant lives any more; SWEPT that it has
killed all that could be killed, which is the end also where something is stuck.
"""

from __future__ import annotations

from enum import Enum, auto
from math import inf
from signal import SIGKILL, SIGTERM
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

ECHO = 1.0
"""Seconds after the first ask within which a further signal is taken for the same one: timeout(1), a
terminal and a scheduler may each deliver theirs twice."""

FAREWELL = 0.5
"""Seconds for what well-ended workers leave to see an end of file, and to end of it."""


class Phase(Enum):
    """Where a gang stands."""

    STARTING = auto()
    RUNNING = auto()
    STOPPING = auto()
    SWEEPING = auto()
    ENDED = auto()


class On(Enum):
    """What happens to a gang."""

    BORN = auto()  # a worker was started
    DIED_WELL = auto()  # a worker ended with status 0
    DIED_BADLY = auto()
    ALL_STARTED = auto()
    STOP_ASKED = auto()  # with a signal and a grace: close(), a signal to the launcher
    ASKED_AGAIN = auto()  # a further termination signal to the launcher
    GRACE_OVER = auto()  # the state's deadline has come
    QUIET = auto()
    SWEPT = auto()
    GUARDIAN_LOST = auto()  # it ended unasked; what it guarded has fallen to the launcher


class Do(Enum):
    """What is to be done about it, each with one number."""

    SIGNAL = auto()  # signal number: note who is on its way out already, then signal the others
    HUSH = auto()  # signal number: have the guardian pass the stop on to what dead workers left
    PART = auto()  # signal number: the same, in `FAREWELL` seconds
    SWEEP = auto()  # have the guardian kill every descendant
    TAKE_OVER = auto()  # kill and reap what the lost guardian guarded


class State(NamedTuple):
    """All that the decisions depend on; times are in seconds of one clock that never steps.

    Attributes:
        grace: Between the death signal and SIGKILL, where nobody asks otherwise.
        phase: Where the gang stands.
        living: Workers that have not died.
        failed: A worker has died badly.
        signum: What a stop that has begun signals.
        asked: When somebody first asked for the stop; infinity while nobody has.
        deadline: When the grace ends; infinity where it has no end, or has not begun.
    """

    grace: float
    phase: Phase = Phase.STARTING
    living: int = 0
    failed: bool = False
    signum: int = int(SIGTERM)
    asked: float = inf
    deadline: float = inf


class Stop(NamedTuple):
    """How a gang is to be stopped."""

    signum: int = int(SIGTERM)
    grace: float = 0.0  # seconds


Effects = tuple[tuple[Do, int], ...]
Step = tuple[State, Effects]


def step(state: State, event: On, at: float = 0.0, how: Stop | None = None) -> Step:
    """Return the state after ``event`` and the effects to carry out, in order.

    Args:
        state: The state before.
        event: What happened.
        at: When, in seconds.
        how: For ``STOP_ASKED``, how to stop.
    """
    state = _count(state, event)
    rule = _TABLE.get((state.phase, event))
    if rule is None:
        return state, ()
    if event is On.STOP_ASKED:
        state = state._replace(asked=min(state.asked, at))
    return rule(state, at, how or Stop(grace=state.grace))


def _count(state: State, event: On) -> State:
    if state.phase is Phase.ENDED:
        return state
    if event is On.BORN:
        return state._replace(living=state.living + 1)
    if event in (On.DIED_WELL, On.DIED_BADLY):
        failed = state.failed or event is On.DIED_BADLY
        return state._replace(living=state.living - 1, failed=failed)
    return state


def _stop(state: State, at: float, how: Stop) -> Step:
    if how.grace <= 0:
        state, sweep = _sweep(state._replace(signum=int(SIGKILL)), at, how)
        return state, ((Do.SIGNAL, state.signum), *sweep)
    state = state._replace(phase=Phase.STOPPING, signum=how.signum, deadline=at + how.grace)
    return state, ((Do.SIGNAL, how.signum), (Do.HUSH, how.signum))


def _run_or_stop(state: State, at: float, how: Stop) -> Step:
    if state.failed:
        return _stop(state, at, how)
    if not state.living:
        deadline = at + max(how.grace, FAREWELL)
        state = state._replace(phase=Phase.STOPPING, signum=how.signum, deadline=deadline)
        return state, ((Do.PART, how.signum),)
    return state._replace(phase=Phase.RUNNING), ()


def _signal(state: State, _at: float, _how: Stop) -> Step:
    return state, ((Do.SIGNAL, state.signum),)


def _sooner(state: State, at: float, how: Stop) -> Step:
    deadline = min(state.deadline, at + how.grace)
    if deadline <= at:
        return _sweep(state, at, how)
    return state._replace(deadline=deadline), ()


def _now(state: State, at: float, how: Stop) -> Step:
    return _sweep(state, at, how) if at - state.asked > ECHO else (state, ())


def _sweep(state: State, _at: float, _how: Stop) -> Step:
    return state._replace(phase=Phase.SWEEPING, deadline=inf), ((Do.SWEEP, 0),)


def _end(state: State, _at: float, _how: Stop) -> Step:
    return state._replace(phase=Phase.ENDED, deadline=inf), ()


def _take_over(state: State, _at: float, _how: Stop) -> Step:
    return state._replace(phase=Phase.ENDED, living=0, deadline=inf), ((Do.TAKE_OVER, 0),)


_TABLE: dict[tuple[Phase, On], Callable[[State, float, Stop], Step]] = {
    (Phase.STARTING, On.ALL_STARTED): _run_or_stop,
    (Phase.STARTING, On.STOP_ASKED): _stop,
    (Phase.STARTING, On.GUARDIAN_LOST): _take_over,
    (Phase.RUNNING, On.DIED_WELL): _run_or_stop,
    (Phase.RUNNING, On.DIED_BADLY): _run_or_stop,
    (Phase.RUNNING, On.STOP_ASKED): _stop,
    (Phase.RUNNING, On.GUARDIAN_LOST): _take_over,
    (Phase.STOPPING, On.BORN): _signal,
    (Phase.STOPPING, On.STOP_ASKED): _sooner,
    (Phase.STOPPING, On.ASKED_AGAIN): _now,
    (Phase.STOPPING, On.GRACE_OVER): _sweep,
    (Phase.STOPPING, On.QUIET): _end,
    (Phase.STOPPING, On.GUARDIAN_LOST): _take_over,
    (Phase.SWEEPING, On.SWEPT): _end,
    (Phase.SWEEPING, On.GUARDIAN_LOST): _take_over,
}
