"""Membership searched: all interleavings of small worlds, and long random ways through larger ones.

A world is a store, some hosts with their agents' states, and what is on its way from one to the other.
A host looks at the store when it likes, so views are as old as can be; what it writes arrives later;
workers fail and end when they like; agents die, are cut off, are ended, and come. The one thing that
is taken for granted is the clock's: a lease runs out only after its agent has died or has cut itself
off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from procession._membership import machine
from procession._membership.machine import (
    CallOver,
    CutOff,
    End,
    Ended,
    Failing,
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
from procession._membership.model import Fate, Member, Outcome, Round, Terms, View

pytestmark = pytest.mark.timeout(300)


class Host(NamedTuple):
    """An agent, its workers, and what it has sent that the store has not taken yet."""

    state: State
    sent: tuple[object, ...] = ()
    alive: bool = True  # the agent is
    running: Round | None = None  # whose workers live
    failing: bool = False
    stopping: bool = False
    quiet: bool = False  # nothing more comes from it: it has left, or was cut off


class World(NamedTuple):
    """All hosts and the store; counters are small, so that like worlds are equal."""

    hosts: tuple[Host | None, ...]
    members: tuple[Member, ...] = ()
    round: Round | None = None
    revision: int = 0
    outcomes: tuple[Outcome, ...] = ()
    came: int = 0
    faults: int = 0

    def view(self) -> View:
        return View(self.members, self.round, self.revision, self.outcomes)

    def put(self, n: int, host: Host | None) -> World:
        return self._replace(hosts=(*self.hosts[:n], host, *self.hosts[n + 1 :]))


Ways: TypeAlias = "dict[World, tuple[World, str] | None]"


def name(n: int) -> str:
    return f"h{n}"


def happen(world: World, n: int, event: object) -> World:
    """Hand an event to a host and carry out what stays on it; writes are only sent."""
    host = world.hosts[n]
    assert host is not None
    state, effects = machine.step(host.state, event)  # type: ignore[arg-type]
    host = host._replace(state=state)
    for effect in effects:
        if isinstance(effect, (Propose, Tell, Leave)):
            host = host._replace(sent=(*host.sent, effect))
        elif isinstance(effect, Start):
            assert host.running is None, "workers are started over others"
            assert effect.round.seats[effect.rank].id == name(n)
            host = host._replace(running=effect.round, failing=False, stopping=False)
        elif isinstance(effect, Stop):
            assert host.running is not None
            host = host._replace(stopping=True)
        elif isinstance(effect, Kill):
            host = host._replace(running=None)
        elif isinstance(effect, End):
            host = host._replace(quiet=True)
            assert host.running is None, "it ended over its workers"
    return world.put(n, host)


def arrive(world: World, n: int) -> World:
    """The store takes the oldest of what a host has sent."""
    host = world.hosts[n]
    assert host is not None
    effect, rest = host.sent[0], host.sent[1:]
    world = world.put(n, host._replace(sent=rest))
    if isinstance(effect, Propose):
        if effect.revision != world.revision:
            return world
        fresh = world.round is None or effect.round.generation != world.round.generation
        return world._replace(
            round=effect.round,
            revision=world.revision + 1,
            outcomes=() if fresh else world.outcomes,
        )
    if isinstance(effect, Tell):
        if world.round is None or world.round.generation != effect.generation:
            return world
        return world._replace(outcomes=told(world.outcomes, name(n), effect))
    return world._replace(members=tuple(m for m in world.members if m.id != name(n)))


def told(outcomes: tuple[Outcome, ...], who: str, tell: Tell) -> tuple[Outcome, ...]:
    before = next((o for o in outcomes if o.id == who), None)
    order = before.order if before else len(outcomes) + 1
    others = tuple(o for o in outcomes if o.id != who)
    return tuple(sorted((*others, Outcome(who, tell.fate, order)), key=lambda o: o.id))


def moves(world: World, terms: Terms, faults: int) -> Iterator[tuple[str, World]]:
    """All that can happen next; what begins with ``!`` is a fault or a free choice."""
    for n, host in enumerate(world.hosts):
        if host is None:
            if n == 0 or world.hosts[n - 1] is not None:  # who comes first is called h0
                yield f"join {n}", join(world, n, terms)
            continue
        if host.sent:
            yield f"arrive {n}", arrive(world, n)  # late as it may be
        if host.alive:
            yield from ordinary(world, n, host)
            if world.faults < faults and not host.quiet:
                yield from harm(world._replace(faults=world.faults + 1), n, host)
        elif host.sent:
            yield f"!lose {n}", world.put(n, host._replace(sent=()))
        if world.view().is_there(name(n)) and (host.quiet or not host.alive):
            # The clock's part of the bargain: a lease runs out only after its agent has died, or
            # has cut itself off.
            gone = tuple(m for m in world.members if m.id != name(n))
            yield f"expire {n}", world._replace(members=gone)


def join(world: World, n: int, terms: Terms) -> World:
    member = Member(name(n), name(n), world.came)
    host = Host(State(name(n), terms))
    return world.put(n, host)._replace(members=(*world.members, member), came=world.came + 1)


def ordinary(world: World, n: int, host: Host) -> Iterator[tuple[str, World]]:
    if not host.quiet and not host.sent:
        yield f"look {n}", happen(world, n, Seen(world.view()))
    if host.state.calling and not host.quiet:
        yield f"call over {n}", happen(world, n, CallOver())
    if host.running is not None and (host.stopping or host.failing):
        fate = Fate.FAILED if host.failing else Fate.STOPPED
        yield f"ended {n}", finish(world, n, host, fate)
    elif host.running is not None:
        yield f"done {n}", finish(world, n, host, Fate.SUCCEEDED)


def finish(world: World, n: int, host: Host, fate: Fate) -> World:
    clean = host._replace(running=None, stopping=False, failing=False)
    return happen(world.put(n, clean), n, Ended(fate))


def harm(world: World, n: int, host: Host) -> Iterator[tuple[str, World]]:
    dead = host._replace(alive=False, running=None)
    yield f"!crash {n}", world.put(n, dead)
    yield f"!cut off {n}", happen(world, n, CutOff("cut"))
    if host.running is not None and not host.failing and not host.stopping:
        yield f"!fail {n}", happen(world.put(n, host._replace(failing=True)), n, Failing())
    if not host.state.leaving:
        yield f"!leave {n}", happen(world, n, Left())


def check(world: World, terms: Terms) -> None:
    """What holds in every world."""
    running = [host.running for host in world.hosts if host and host.running]
    assert len({r.generation for r in running}) <= 1, "two gangs at once"
    assert len({r.seats for r in running}) <= 1, "one gang, two orders"
    if world.round is not None:
        seats = world.round.seats
        assert len({seat.id for seat in seats}) == len(seats)
        assert terms.least <= len(seats) <= terms.most
        assert world.round.restarts <= terms.max_restarts


def is_rightly_still(world: World, terms: Terms) -> bool:
    """Whether it is right that nothing happens any more unless somebody comes."""
    up = [h for h in world.hosts if h and h.alive and not h.quiet]
    enough = len(up) >= terms.least
    return not up or (not enough and all(h.state.phase is Phase.JOINING for h in up))


class Found(NamedTuple):
    worlds: int
    still: int


def explore(hosts: int, terms: Terms, faults: int) -> Found:
    """Go through every world that can be reached, and see that all can come to rest.

    Raises:
        AssertionError: With the way that leads to a world in which something is wrong.
    """
    start = World((None,) * hosts)
    came_from: Ways = {start: None}
    before: dict[World, list[World]] = {}  # by moves that nobody has to choose
    todo, still = [start], []
    while todo:
        world = todo.pop()
        onward = False
        for label, after in guarded(world, terms, faults, came_from):
            if after not in came_from:
                came_from[after] = (world, label)
                todo.append(after)
            if after != world and not label.startswith("!"):
                onward = True
                before.setdefault(after, []).append(world)
        if not onward:
            still.append(world)
            assert is_rightly_still(world, terms), f"stuck: {way_to(world, came_from)}\n{world}"
    restless = came_from.keys() - leading_to(still, before)
    assert not restless, f"never rests: {way_to(next(iter(restless)), came_from)}"
    return Found(len(came_from), len(still))


def leading_to(ends: list[World], before: dict[World, list[World]]) -> set[World]:
    found, todo = set(ends), list(ends)
    while todo:
        for world in before.get(todo.pop(), ()):
            if world not in found:
                found.add(world)
                todo.append(world)
    return found


def guarded(
    world: World, terms: Terms, faults: int, came_from: Ways
) -> Iterator[tuple[str, World]]:
    try:
        check(world, terms)
        yield from moves(world, terms, faults)
    except AssertionError as error:
        raise AssertionError(f"{error}: {way_to(world, came_from)}\n{world}") from error


def way_to(world: World, came_from: Ways) -> str:
    labels: list[str] = []
    step = came_from[world]
    while step is not None:
        labels.append(step[1])
        step = came_from[step[0]]
    return ", ".join(reversed(labels))


@pytest.mark.parametrize(
    ("hosts", "terms", "faults"),
    [
        (1, Terms(1, 1, 1), 3),
        (2, Terms(2, 2, 0), 1),
        (2, Terms(2, 2, 1), 1),
        (2, Terms(1, 2, 1), 1),
        (2, Terms(1, 1, 0), 1),
    ],
    ids=str,
)
def test_every_interleaving(hosts: int, terms: Terms, faults: int) -> None:
    found = explore(hosts, terms, faults)
    print(f"{hosts} hosts, {terms}, {faults} faults: {found.worlds} worlds, {found.still} at rest")
    assert found.still > 0


@pytest.mark.stress
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    ("hosts", "terms", "faults"),
    [
        (2, Terms(2, 2, 1), 2),
        (2, Terms(1, 2, 1), 2),
        (3, Terms(3, 3, 0), 1),
        (3, Terms(2, 3, 0), 0),
    ],
    ids=str,
)
def test_every_interleaving_of_larger_worlds(hosts: int, terms: Terms, faults: int) -> None:
    found = explore(hosts, terms, faults)
    print(f"{hosts} hosts, {terms}, {faults} faults: {found.worlds} worlds, {found.still} at rest")
    assert found.still > 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    least=st.integers(1, 3),
    spare=st.integers(0, 2),
    restarts=st.integers(0, 3),
    data=st.data(),
)
def test_long_random_ways(least: int, spare: int, restarts: int, data: st.DataObject) -> None:
    terms = Terms(least, least + spare, restarts)
    world = World((None,) * 5)
    way: Ways = {world: None}
    for _ in range(data.draw(st.integers(20, 150))):
        after = list(guarded(world, terms, 6, way))
        if not after:
            break
        label, following = data.draw(st.sampled_from(after))
        way.setdefault(following, (world, label))
        world = following
    come_to_rest(world, terms, way)


def come_to_rest(world: World, terms: Terms, way: Ways) -> None:
    """Without further faults, and everybody taking turns, nothing goes on for ever."""
    for _ in range(3000):
        for label, after in guarded(world, terms, 0, way):
            if after != world and after not in way:
                way[after] = (world, label)
                world = after
                break
        else:
            assert is_rightly_still(world, terms), f"stuck: {way_to(world, way)}\n{world}"
            return
    raise AssertionError(f"goes on for ever: {way_to(world, way)}")
