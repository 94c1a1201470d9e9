"""The gang's table, row by row, and what holds over every sequence of events."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession._loop.machine import Do, On, Phase, State, Stop, step

GRACE = 30.0
TERM = ((Do.SIGNAL, 15), (Do.HUSH, 15), (Do.GRACE, GRACE))


def starting(living: int = 0, *, failed: bool = False) -> State:
    return State(GRACE, Phase.STARTING, living, failed)


def running(living: int) -> State:
    return State(GRACE, Phase.RUNNING, living)


def stopping(living: int, *, failed: bool = True) -> State:
    return State(GRACE, Phase.STOPPING, living, failed)


def sweeping(living: int, *, failed: bool = True) -> State:
    return State(GRACE, Phase.SWEEPING, living, failed)


def ended(living: int = 0, *, failed: bool = True) -> State:
    return State(GRACE, Phase.ENDED, living, failed)


@pytest.mark.parametrize(
    ("before", "event", "after", "effects"),
    [
        # starting: deaths are counted and judged when all have been started
        (starting(1), On.BORN, starting(2), ()),
        (starting(2), On.DIED_WELL, starting(1), ()),
        (starting(2), On.DIED_BADLY, starting(1, failed=True), ()),
        (starting(2), On.ALL_STARTED, running(2), ()),
        (starting(1, failed=True), On.ALL_STARTED, stopping(1), TERM),
        (starting(0), On.ALL_STARTED, stopping(0, failed=False), TERM),
        # running
        (running(2), On.DIED_WELL, running(1), ()),
        (running(1), On.DIED_WELL, stopping(0, failed=False), TERM),
        (running(2), On.DIED_BADLY, stopping(1), TERM),
        (running(2), On.QUIET, running(2), ()),
        (running(2), On.GRACE_OVER, running(2), ()),
        # stopping
        (stopping(2), On.DIED_BADLY, stopping(1), ()),
        (stopping(2), On.DIED_WELL, stopping(1), ()),
        (stopping(1), On.GRACE_OVER, sweeping(1), ((Do.SWEEP, 0),)),
        (stopping(0), On.QUIET, ended(), ()),
        # sweeping
        (sweeping(1), On.DIED_BADLY, sweeping(0), ()),
        (sweeping(0), On.SWEPT, ended(), ()),
        (sweeping(0), On.QUIET, sweeping(0), ()),
        # a lost guardian, wherever the gang stands
        (starting(2), On.GUARDIAN_LOST, ended(failed=False), ((Do.TAKE_OVER, 0),)),
        (running(2), On.GUARDIAN_LOST, ended(failed=False), ((Do.TAKE_OVER, 0),)),
        (stopping(2), On.GUARDIAN_LOST, ended(), ((Do.TAKE_OVER, 0),)),
        (sweeping(2), On.GUARDIAN_LOST, ended(), ((Do.TAKE_OVER, 0),)),
        # the end is the end
        (ended(), On.GUARDIAN_LOST, ended(), ()),
        (ended(), On.STOP_ASKED, ended(), ()),
        (ended(), On.GRACE_OVER, ended(), ()),
    ],
)
def test_row(before: State, event: On, after: State, effects: tuple[tuple[Do, float], ...]) -> None:
    assert step(before, event) == (after, effects)


@pytest.mark.parametrize("before", [starting(2), running(2)])
def test_a_stop_takes_the_signal_and_grace_that_were_asked_for(before: State) -> None:
    _, effects = step(before, On.STOP_ASKED, Stop(2, 5.0))
    assert effects == ((Do.SIGNAL, 2), (Do.HUSH, 2), (Do.GRACE, 5.0))


def test_a_further_stop_only_shortens_the_grace() -> None:
    assert step(stopping(2), On.STOP_ASKED, Stop(15, 0.0)) == (stopping(2), ((Do.GRACE, 0.0),))


EVENTS = st.lists(st.sampled_from([e for e in On if e is not On.BORN]), max_size=30)


@given(st.integers(0, 5), EVENTS, st.sampled_from([0.0, 30.0, math.inf]))
def test_over_every_history(workers: int, events: list[On], grace: float) -> None:
    """One signal a life at most, phases only forward, and GUARDIAN_LOST always ends it."""
    order = list(Phase)
    state = State(grace)
    for _ in range(workers):
        state, _ = step(state, On.BORN)
    signals = 0
    for event in events:
        after, effects = step(state, event)
        assert order.index(after.phase) >= order.index(state.phase)
        assert (state.phase is Phase.ENDED) <= (effects == ())
        signals += sum(do is Do.SIGNAL for do, _ in effects)
        state = after
    assert signals <= 1
    assert step(state, On.GUARDIAN_LOST)[0].phase is Phase.ENDED
