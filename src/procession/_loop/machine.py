"""A gang's life as a table: state and event in, new state and effects out. No I/O, no clock.

            Died ok       Died badly  AllStarted   StopAsked      GraceOver  Quiet  Swept  GuardianLost
STARTING    -             -           see below    stop           -          -      -      take over
RUNNING     stop if last  stop        -            stop           -          -      -      take over
STOPPING    -             -           -            shorter grace  sweep      end    -      take over
SWEEPING    -             -           -            -              -          -      end    take over
ENDED       -             -           -            -              -          -      -      -

Deaths while others are still being started are judged when all have been (AllStarted): a gang of
which nobody has failed and somebody lives is RUNNING. Every way on from there is the same stop: the
death signal to those who live, one shared grace, then SIGKILL for whatever is left. ``Quiet`` is the
guardian's word that no descendant lives any more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from signal import SIGTERM
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Phase(Enum):
    """Where a gang stands."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    SWEEPING = "sweeping"
    ENDED = "ended"


@dataclass(frozen=True)
class State:
    """All that the decisions depend on."""

    grace: float  # seconds between the death signal and SIGKILL where nobody asks otherwise
    phase: Phase = Phase.STARTING
    living: int = 0  # workers that have not died
    failed: bool = False  # a worker has died badly


# ---- events


@dataclass(frozen=True)
class Died:
    """A worker ended."""

    ok: bool


@dataclass(frozen=True)
class Born:
    """A worker was started."""


@dataclass(frozen=True)
class AllStarted:
    """No further worker will be started."""


@dataclass(frozen=True)
class StopAsked:
    """Somebody wants the gang stopped: ``close()``, a signal."""

    signum: int
    grace: float  # seconds


@dataclass(frozen=True)
class GraceOver:
    """The shared deadline has passed."""


@dataclass(frozen=True)
class Quiet:
    """No descendant of the guardian lives any more."""


@dataclass(frozen=True)
class Swept:
    """The guardian has killed all that could be killed."""


@dataclass(frozen=True)
class GuardianLost:
    """The guardian ended without being asked to; what it guarded has fallen to us."""


Event = Born | Died | AllStarted | StopAsked | GraceOver | Quiet | Swept | GuardianLost


# ---- effects


@dataclass(frozen=True)
class Signal:
    """Note which workers are already on their way out, then signal every living one."""

    signum: int


@dataclass(frozen=True)
class Hush:
    """Have the guardian pass the stop on to what dead workers leave behind."""

    signum: int


@dataclass(frozen=True)
class Grace:
    """Let the shared deadline be at most so many seconds from now."""

    seconds: float


@dataclass(frozen=True)
class Sweep:
    """Have the guardian kill every descendant."""


@dataclass(frozen=True)
class TakeOver:
    """Kill and reap what the lost guardian guarded."""


Effect = Signal | Hush | Grace | Sweep | TakeOver
Step = tuple[State, tuple[Effect, ...]]


def step(state: State, event: Event) -> Step:
    """Return the state after ``event`` and the effects to carry out, in order."""
    state = _count(state, event)
    rule = _TABLE.get((state.phase, type(event)))
    return rule(state, event) if rule else (state, ())


def _count(state: State, event: Event) -> State:
    if isinstance(event, Born):
        return replace(state, living=state.living + 1)
    if isinstance(event, Died):
        return replace(state, living=state.living - 1, failed=state.failed or not event.ok)
    return state


def _stop(state: State, signum: int, grace: float) -> Step:
    effects = (Signal(signum), Hush(signum), Grace(grace))
    return replace(state, phase=Phase.STOPPING), effects


def _run_on(state: State, _event: Event) -> Step:
    if state.failed or not state.living:
        return _stop(state, int(SIGTERM), state.grace)
    return replace(state, phase=Phase.RUNNING), ()


def _asked(state: State, event: StopAsked) -> Step:
    return _stop(state, event.signum, event.grace)


def _asked_again(state: State, event: StopAsked) -> Step:
    return state, (Grace(event.grace),)


def _sweep(state: State, _event: Event) -> Step:
    return replace(state, phase=Phase.SWEEPING), (Sweep(),)


def _end(state: State, _event: Event) -> Step:
    return replace(state, phase=Phase.ENDED), ()


def _take_over(state: State, _event: Event) -> Step:
    return replace(state, phase=Phase.ENDED, living=0), (TakeOver(),)


_TABLE: dict[tuple[Phase, type], Callable[..., Step]] = {
    (Phase.STARTING, AllStarted): _run_on,
    (Phase.STARTING, StopAsked): _asked,
    (Phase.RUNNING, Died): _run_on,
    (Phase.RUNNING, StopAsked): _asked,
    (Phase.STOPPING, StopAsked): _asked_again,
    (Phase.STOPPING, GraceOver): _sweep,
    (Phase.STOPPING, Quiet): _end,
    (Phase.SWEEPING, Swept): _end,
    (Phase.STARTING, GuardianLost): _take_over,
    (Phase.RUNNING, GuardianLost): _take_over,
    (Phase.STOPPING, GuardianLost): _take_over,
    (Phase.SWEEPING, GuardianLost): _take_over,
}
