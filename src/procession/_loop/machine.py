"""A gang's life as a table: state and event in, new state and effects out. No I/O, no clock.

            DIED          ALL_STARTED  STOP_ASKED     GRACE_OVER  QUIET  SWEPT  GUARDIAN_LOST
STARTING    -             run or stop  stop           -           -      -      take over
RUNNING     run or stop   -            stop           -           -      -      take over
STOPPING    -             -            shorter grace  sweep       end    -      take over
SWEEPING    -             -            -              -           -      end    take over
ENDED       -             -            -              -           -      -      -

"Run or stop": a gang runs on while somebody lives and nobody has failed; deaths among workers that
are still being started are judged when all have been. Every way out is the same stop: the death
signal to those who live, one shared grace, then SIGKILL for whatever is left. QUIET is the guardian's
word that no descendant lives any more.
"""

from __future__ import annotations

from enum import Enum, auto
from signal import SIGTERM
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


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
    GRACE_OVER = auto()
    QUIET = auto()
    SWEPT = auto()  # the guardian has killed all that could be killed
    GUARDIAN_LOST = auto()  # it ended unasked; what it guarded has fallen to the launcher


class Do(Enum):
    """What is to be done about it, each with one number."""

    SIGNAL = auto()  # signal number: note who is on its way out already, then signal the living
    HUSH = auto()  # signal number: have the guardian pass the stop on to what dead workers left
    GRACE = auto()  # seconds: let the shared deadline be no later than so long from now
    SWEEP = auto()  # have the guardian kill every descendant
    TAKE_OVER = auto()  # kill and reap what the lost guardian guarded


class State(NamedTuple):
    """All that the decisions depend on."""

    grace: float  # seconds between the death signal and SIGKILL where nobody asks otherwise
    phase: Phase = Phase.STARTING
    living: int = 0  # workers that have not died
    failed: bool = False  # a worker has died badly


class Stop(NamedTuple):
    """How a gang is to be stopped."""

    signum: int = int(SIGTERM)
    grace: float = 0.0  # seconds


Effects = tuple[tuple[Do, float], ...]
Step = tuple[State, Effects]


def step(state: State, event: On, how: Stop | None = None) -> Step:
    """Return the state after ``event`` and the effects to carry out, in order.

    Args:
        state: The state before.
        event: What happened.
        how: For ``STOP_ASKED``, how to stop.
    """
    state = _count(state, event)
    rule = _TABLE.get((state.phase, event))
    return rule(state, how or Stop(grace=state.grace)) if rule else (state, ())


def _count(state: State, event: On) -> State:
    if event is On.BORN:
        return state._replace(living=state.living + 1)
    if event in (On.DIED_WELL, On.DIED_BADLY):
        failed = state.failed or event is On.DIED_BADLY
        return state._replace(living=state.living - 1, failed=failed)
    return state


def _stop(state: State, how: Stop) -> Step:
    effects = ((Do.SIGNAL, how.signum), (Do.HUSH, how.signum), (Do.GRACE, how.grace))
    return state._replace(phase=Phase.STOPPING), effects


def _run_or_stop(state: State, how: Stop) -> Step:
    if state.failed or not state.living:
        return _stop(state, how)
    return state._replace(phase=Phase.RUNNING), ()


def _shorten(state: State, how: Stop) -> Step:
    return state, ((Do.GRACE, how.grace),)


def _sweep(state: State, _how: Stop) -> Step:
    return state._replace(phase=Phase.SWEEPING), ((Do.SWEEP, 0),)


def _end(state: State, _how: Stop) -> Step:
    return state._replace(phase=Phase.ENDED), ()


def _take_over(state: State, _how: Stop) -> Step:
    return state._replace(phase=Phase.ENDED, living=0), ((Do.TAKE_OVER, 0),)


_TABLE: dict[tuple[Phase, On], Callable[[State, Stop], Step]] = {
    (Phase.STARTING, On.ALL_STARTED): _run_or_stop,
    (Phase.STARTING, On.STOP_ASKED): _stop,
    (Phase.STARTING, On.GUARDIAN_LOST): _take_over,
    (Phase.RUNNING, On.DIED_WELL): _run_or_stop,
    (Phase.RUNNING, On.DIED_BADLY): _run_or_stop,
    (Phase.RUNNING, On.STOP_ASKED): _stop,
    (Phase.RUNNING, On.GUARDIAN_LOST): _take_over,
    (Phase.STOPPING, On.STOP_ASKED): _shorten,
    (Phase.STOPPING, On.GRACE_OVER): _sweep,
    (Phase.STOPPING, On.QUIET): _end,
    (Phase.STOPPING, On.GUARDIAN_LOST): _take_over,
    (Phase.SWEEPING, On.SWEPT): _end,
    (Phase.SWEEPING, On.GUARDIAN_LOST): _take_over,
}
