"""The gang's table, cell by cell, and what holds over every sequence of events."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession._loop import machine
from procession._loop.machine import ECHO, FAREWELL, Do, On, Phase, State, Stop, step

TERM, KILL, HUP = 15, 9, 1
GRACE, NOW = 30.0, 1000.0
PHASES, EVENTS = list(Phase), list(On)
DEATHS = {On.DIED_WELL, On.DIED_BADLY}


def read_table(text: str) -> dict[tuple[Phase, On], str]:
    """The table in the machine's docstring: what each cell says."""
    head, *rows = [line for line in text.splitlines() if line.startswith("    ")]
    columns = head.split()
    starts = [head.index(name) for name in columns] + [999]
    cells = {}
    for row in rows:
        for name, start, end in zip(columns, starts, starts[1:], strict=False):
            for event in DEATHS if name == "DIED" else {On[name]}:
                cells[Phase[row.split()[0]], event] = row[start:end].strip()
    return cells


TABLE = read_table(machine.__doc__ or "")
SIGNALLED = ((Do.SIGNAL, TERM), (Do.HUSH, TERM))


def begun(state: State) -> State:
    return state._replace(phase=Phase.STOPPING, signum=TERM, deadline=NOW + GRACE)


def expected(cell: str, state: State, event: On) -> tuple[State, machine.Effects]:
    """What a word of the table means, for a state of grace 30 s in which the event is counted."""
    if cell == "run or stop":
        cell = "stop" if state.failed else "run" if state.living else "part"
    asked = min(state.asked, NOW) if event is On.STOP_ASKED and cell != "-" else state.asked
    state = state._replace(asked=asked)
    swept = state._replace(phase=Phase.SWEEPING, deadline=math.inf)
    gone = state._replace(phase=Phase.ENDED, deadline=math.inf)
    return {
        "-": (state, ()),
        "count": (state, ()),
        "run": (state._replace(phase=Phase.RUNNING), ()),
        "stop": (begun(state), SIGNALLED),
        "part": (begun(state), ((Do.PART, TERM),)),
        "signal": (state, ((Do.SIGNAL, state.signum),)),
        "sooner": (state._replace(deadline=min(state.deadline, NOW + GRACE)), ()),
        "now": (swept, ((Do.SWEEP, 0),)) if NOW - state.asked > ECHO else (state, ()),
        "sweep": (swept, ((Do.SWEEP, 0),)),
        "end": (gone, ()),
        "take over": (gone._replace(living=0), ((Do.TAKE_OVER, 0),)),
    }[cell]


def counted(state: State, event: On) -> State:
    if state.phase is Phase.ENDED:
        return state
    born, died = event is On.BORN, event in DEATHS
    failed = state.failed or event is On.DIED_BADLY
    return state._replace(living=state.living + born - died, failed=failed)


def states(phase: Phase) -> list[State]:
    """Every kind of state that a gang may be in at this phase."""
    stopped = phase is Phase.STOPPING
    asks = [math.inf, NOW, NOW - ECHO, NOW - ECHO - 0.001] if stopped else [math.inf]
    deadlines = [NOW + 1, NOW + 99, math.inf] if stopped else [math.inf]
    return [
        State(GRACE, phase, living, failed, signum, asked, deadline)
        for living, failed, signum, asked, deadline in product(
            (1, 2), (False, True), (TERM, HUP) if stopped else (TERM,), asks, deadlines
        )
    ]


def test_the_table_has_every_cell() -> None:
    assert set(TABLE) == set(product(PHASES, EVENTS))


@pytest.mark.parametrize(("phase", "event"), sorted(TABLE, key=str))
def test_cell(phase: Phase, event: On) -> None:
    for state in states(phase):
        meant = expected(TABLE[phase, event], counted(state, event), event)
        assert step(state, event, NOW, Stop(TERM, GRACE)) == meant


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.RUNNING])
def test_a_stop_takes_the_signal_and_grace_that_were_asked_for(phase: Phase) -> None:
    after, effects = step(State(GRACE, phase, 2), On.STOP_ASKED, NOW, Stop(HUP, 5.0))
    assert effects == ((Do.SIGNAL, HUP), (Do.HUSH, HUP))
    assert (after.signum, after.deadline, after.asked) == (HUP, NOW + 5, NOW)


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (On.STOP_ASKED, State(GRACE, Phase.STARTING, 2)),
        (On.STOP_ASKED, State(GRACE, Phase.RUNNING, 2)),
        (On.DIED_BADLY, State(0, Phase.RUNNING, 2)),
        (On.ALL_STARTED, State(0, Phase.STARTING, 1, failed=True)),
    ],
)
def test_a_grace_of_nothing_kills_at_once(event: On, state: State) -> None:
    how = Stop(TERM, 0) if event is On.STOP_ASKED else None
    after, effects = step(state, event, NOW, how)
    assert effects == ((Do.SIGNAL, KILL), (Do.SWEEP, 0))
    assert (after.phase, after.deadline) == (Phase.SWEEPING, math.inf)


@pytest.mark.parametrize(
    ("grace", "deadline"), [(0, FAREWELL), (GRACE, GRACE), (math.inf, math.inf)]
)
def test_what_a_gang_leaves_that_has_ended_well_has_a_moment(grace: float, deadline: float) -> None:
    after, effects = step(State(grace, Phase.RUNNING, 1), On.DIED_WELL, NOW)
    assert effects == ((Do.PART, TERM),)
    assert (after.phase, after.deadline) == (Phase.STOPPING, NOW + deadline)


def test_an_endless_grace_has_no_deadline_until_somebody_asks_for_one() -> None:
    state, _ = step(State(math.inf, Phase.RUNNING, 2), On.DIED_BADLY, NOW)
    assert (state.phase, state.deadline) == (Phase.STOPPING, math.inf)
    state, effects = step(state, On.STOP_ASKED, NOW + 1, Stop(TERM, 5))
    assert (state.deadline, effects) == (NOW + 6, ())


def test_a_further_ask_with_a_grace_of_nothing_kills_at_once() -> None:
    state = begun(State(GRACE, living=2))
    after, effects = step(state, On.STOP_ASKED, NOW + 1, Stop(TERM, 0))
    assert (after.phase, effects) == (Phase.SWEEPING, ((Do.SWEEP, 0),))


def test_the_first_ask_counts_and_not_the_stop_that_was_there_before() -> None:
    """A rank fails, the grace runs; Ctrl-C asks for a stop too, and only the next one hurries."""
    state, _ = step(State(GRACE, Phase.RUNNING, 2), On.DIED_BADLY, NOW)
    assert step(state, On.ASKED_AGAIN, NOW + 9) == (state, ())
    state, _ = step(state, On.STOP_ASKED, NOW + 10, Stop(TERM, GRACE))
    assert state.deadline == NOW + GRACE
    assert step(state, On.ASKED_AGAIN, NOW + 10.5) == (state, ())
    assert step(state, On.ASKED_AGAIN, NOW + 11.5)[1] == ((Do.SWEEP, 0),)


HISTORIES = st.lists(
    st.tuples(
        st.sampled_from(EVENTS),
        st.floats(0, 3),
        st.sampled_from([0.0, 0.5, 2.0, math.inf]),
    ),
    max_size=30,
)
GRACES = st.sampled_from([0.0, 1.0, math.inf])


@given(st.integers(0, 5), HISTORIES, GRACES)
def test_over_every_history(
    workers: int, history: list[tuple[On, float, float]], grace: float
) -> None:
    """Phases go forward, nothing is swept unsignalled, no grace grows, and the end is the end."""
    state, now, done = State(grace, living=workers), 0.0, []
    for event, pause, asked in history:
        now += pause
        after, effects = step(state, event, now, Stop(TERM, asked))
        assert PHASES.index(after.phase) >= PHASES.index(state.phase)
        if state.phase is after.phase is Phase.STOPPING:
            assert after.deadline <= state.deadline
        if state.phase in {Phase.SWEEPING, Phase.ENDED}:
            assert {do for do, _ in effects} <= {Do.TAKE_OVER}
        assert state.phase is not Phase.ENDED or (after, effects) == (state, ())
        done += [do for do, _ in effects]
        state = after
    assert done.count(Do.SWEEP) <= 1
    assert done.count(Do.HUSH) + done.count(Do.PART) <= 1
    told = [at for at, do in enumerate(done) if do in {Do.SIGNAL, Do.PART}]
    assert Do.SWEEP not in done or told[0] < done.index(Do.SWEEP)
    assert Do.TAKE_OVER not in done[:-1]


@given(st.integers(0, 5), HISTORIES, GRACES)
def test_every_history_can_end(
    workers: int, history: list[tuple[On, float, float]], grace: float
) -> None:
    """Wherever a gang stands: asked twice it sweeps, and the guardian's word, or its loss, ends it."""
    state, now = State(grace, living=workers), 0.0
    for event, pause, asked in history:
        now += pause
        state, _ = step(state, event, now, Stop(TERM, asked))
    assert step(state, On.GUARDIAN_LOST, now)[0].phase is Phase.ENDED
    for event, pause in ((On.STOP_ASKED, 0), (On.ASKED_AGAIN, ECHO + 1), (On.SWEPT, 0)):
        now += pause
        state, _ = step(state, event, now, Stop(TERM, math.inf))
    assert state.phase is Phase.ENDED
