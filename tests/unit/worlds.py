"""Small worlds of hosts and a store, all that can happen in them, and what has to hold there.

A world is a store, some hosts with their agents' states, and what is on its way from one to the other.
A host looks at the store when it likes, so views are as old as can be; what it writes arrives later;
workers fail and end when they like; agents die, are cut off, are ended, and come. The one thing that
is taken for granted is the clock's: a lease runs out only after its agent has died or has cut itself
off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from procession._membership import machine
from procession._membership.machine import (
    CallOff,
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
    Rested,
    Seen,
    Start,
    State,
    Stop,
    Tell,
)
from procession._membership.model import Fate, Member, Outcome, Round, Terms, View
from procession._membership.rules import OVER, leader


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
    called_off: bool = False
    leader: str = ""
    came: int = 0
    faults: int = 0
    elects: bool = True  # else all see all, and lead by their age

    def view(self, who: str) -> View:
        """What a host sees: all if it leads, else the round and itself."""
        if self.leader == who or not self.elects:
            return View(
                self.members,
                self.round,
                self.revision,
                self.outcomes,
                self.called_off,
                self.leader,
            )
        mine = tuple(member for member in self.members if member.id == who)
        return View(mine, self.round, self.revision, (), self.called_off, self.leader, whole=False)

    def is_there(self, who: str) -> bool:
        return any(member.id == who for member in self.members)

    def without(self, who: str) -> World:
        """A lease is gone, and with it what was bound to it."""
        return self._replace(
            members=tuple(member for member in self.members if member.id != who),
            leader="" if self.leader == who else self.leader,
        )

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
        if isinstance(effect, (Propose, CallOff, Tell, Leave)):
            assert not isinstance(effect, Propose) or is_rested(effect, state), "too early"
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
            if effect.verdict is not None:
                assert world.round is not None
                assert world.round.verdict == effect.verdict, "a verdict of its own"
            else:
                assert isinstance(event, (CutOff, Left)) or state.leaving, "it ended for no reason"
    return world.put(n, host)


def is_rested(effect: Propose, state: State) -> bool:
    """Whether a gang after a failure is proposed no earlier than the pause allows."""
    following, pauses = effect.round, state.terms.policy.most > 0
    is_gang = following.verdict is None and not following.pause
    return not (pauses and is_gang and following.cause) or state.rested == following.generation - 1


def arrive(world: World, n: int) -> World:
    """The store takes the oldest of what a host has sent."""
    host = world.hosts[n]
    assert host is not None
    effect, rest = host.sent[0], host.sent[1:]
    world = world.put(n, host._replace(sent=rest))
    if isinstance(effect, Propose):
        return world if effect.revision != world.revision else succeed(world, effect.round)
    if isinstance(effect, Leave):
        return world.without(name(n))
    assert isinstance(effect, (CallOff, Tell))
    if world.round is None or world.round.generation != effect.generation:
        return world  # keys of a round that is past: nobody looks at them
    if isinstance(effect, CallOff):
        return world._replace(called_off=True)
    off = world.called_off or effect.fate in OVER
    return world._replace(outcomes=told(world.outcomes, name(n), effect), called_off=off)


def succeed(world: World, following: Round) -> World:
    """The store takes the next round, or the verdict; nothing else may be written."""
    old = world.round
    fates = {outcome.id: outcome.fate for outcome in world.outcomes}
    if following.verdict is not None:
        assert old is not None
        if not following.verdict.status:
            assert {fates.get(s.id) for s in old.seats} == {Fate.SUCCEEDED}, "no success"
        return world._replace(round=following, revision=world.revision + 1, outcomes=())
    if following.pause:
        assert old is not None, "a pause before the first gang"
        assert (old.generation, old.pause) == (following.generation, 0), "decided twice"
        assert following.restarts == old.restarts + 1, "a failure that does not count"
        return world._replace(round=following, revision=world.revision + 1)
    expected = old.generation + 1 if old is not None else 0
    assert following.generation == expected, "a round twice, or none"
    if old is not None and any(world.is_there(seat.id) for seat in old.seats):
        failed = {Fate.FAILED, Fate.FAILING} & set(fates.values())
        counts = bool(failed) and not old.pause
        assert following.restarts >= old.restarts + counts, "a failure that does not count"
        assert world.called_off or old.generation < 0, "nobody was told that the round is over"
    fresh = world._replace(round=following, revision=world.revision + 1, outcomes=())
    return fresh._replace(called_off=False)


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
        if world.is_there(name(n)):
            yield from at_the_store(world, n, host)


def at_the_store(world: World, n: int, host: Host) -> Iterator[tuple[str, World]]:
    if host.quiet or not host.alive:
        # The clock's part of the bargain: a lease runs out only after its agent has died, or has
        # cut itself off.
        yield f"expire {n}", world.without(name(n))
    elif world.elects and not world.leader:
        yield f"elect {n}", world._replace(leader=name(n))


def join(world: World, n: int, terms: Terms) -> World:
    member = Member(name(n), name(n), world.came)
    host = Host(State(name(n), terms))
    return world.put(n, host)._replace(
        members=(*world.members, member),
        leader=world.leader or (name(n) if world.elects else ""),
        came=world.came + 1,
    )


def ordinary(world: World, n: int, host: Host) -> Iterator[tuple[str, World]]:
    if not host.quiet:
        yield f"look {n}", happen(world, n, Seen(world.view(name(n))))
    if host.state.calling and not host.quiet:
        yield f"call over {n}", happen(world, n, CallOver())
    if host.state.resting != host.state.rested and not host.quiet:
        yield f"rested {n}", happen(world, n, Rested(host.state.resting))
    if host.running is not None and (host.stopping or host.failing):
        fate = Fate.FAILED if host.failing else Fate.STOPPED
        yield f"ended {n}", finish(world, n, host, fate)
    elif host.running is not None:
        yield f"!done {n}", finish(world, n, host, Fate.SUCCEEDED)


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
    running = [(n, host.running) for n, host in enumerate(world.hosts) if host and host.running]
    assert len({r.generation for _, r in running}) <= 1, "two gangs at once"
    assert len({r.seats for _, r in running}) <= 1, "one gang, two orders"
    ranks = [[seat.id for seat in r.seats].index(name(n)) for n, r in running]
    assert len(set(ranks)) == len(ranks), "two hosts, one rank"
    leaders = [n for n, host in enumerate(world.hosts) if host and leads(world, n, host)]
    assert len(leaders) <= 1, "two leaders"
    if world.round is not None and world.round.verdict is None:
        seats = world.round.seats
        assert len({seat.id for seat in seats}) == len(seats), "two ranks, one host"
        assert terms.least <= len(seats) <= terms.most, "more or fewer than asked for"
        assert world.round.restarts <= terms.max_restarts, "more restarts than asked for"


def leads(world: World, n: int, host: Host) -> bool:
    """Whether a host that is there takes itself for the one that writes rounds."""
    view = host.state.view
    mine = host.alive and not host.quiet and world.is_there(name(n))
    return mine and view.whole and bool(view.members) and leader(view) == name(n)


def is_rightly_still(world: World, terms: Terms) -> bool:
    """Whether it is right that nothing happens any more unless somebody chooses it.

    A quorum of hosts goes on until it has a gang, or a verdict: only too few hosts wait for more. Where
    no fault was, the run has succeeded.
    """
    up = [(n, h) for n, h in enumerate(world.hosts) if h and h.alive and not h.quiet]
    if any(host.running for _, host in up):
        return is_whole_gang(world, dict(up), terms)
    if up:
        return len(up) < terms.least and all(h.state.phase is Phase.JOINING for _, h in up)
    verdict = world.round.verdict if world.round else None
    came = sum(host is not None for host in world.hosts)
    return bool(world.faults) or came == 0 or (verdict is not None and not verdict.status)


def is_whole_gang(world: World, up: dict[int, Host], terms: Terms) -> bool:
    """Whether the gang that is asked for runs, or has ended well; and nobody waits who has a place."""
    now = world.round
    assert now is not None
    done = {outcome.id for outcome in world.outcomes if outcome.fate is Fate.SUCCEEDED}
    for n, host in up.items():
        if now.rank(name(n)) is None:
            if len(now.seats) < terms.most and not done:
                return False
        elif host.running != now and name(n) not in done:
            return False
        if host.stopping or host.failing:
            return False
    seated = {name(n) for n in up} | done
    return not world.called_off and all(seat.id in seated for seat in now.seats)


class Found(NamedTuple):
    """How many worlds there are, and how many of them are at rest."""

    worlds: int
    still: int


def explore(hosts: int, terms: Terms, faults: int, *, elects: bool = True) -> Found:
    """Go through every world that can be reached, and see that all can come to rest.

    Raises:
        AssertionError: With the way that leads to a world in which something is wrong.
    """
    start = World((None,) * hosts, elects=elects)
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


class Survey(NamedTuple):
    """How many worlds were visited, how many steps lie behind the last, and whether these are all."""

    worlds: int
    steps: int
    all: bool


def survey(hosts: int, terms: Terms, faults: int, most: int) -> Survey:
    """Go through the worlds that can be reached, those of fewer steps first, until it is so many.

    Of a world that was left only its hash is kept, so that millions fit into memory; that all can come to
    rest is not seen to, but that nothing is stuck.

    Raises:
        AssertionError: With the way that leads to a world in which something is wrong.
    """
    start = World((None,) * hosts)
    came_from, layer, steps = {hash(start): 0}, [start], 0
    while layer and len(came_from) < most:
        following = []
        for world in layer:
            try:
                following += fresh(world, terms, faults, came_from)
            except AssertionError as error:
                way = retrace(world, start, terms, faults, came_from)
                raise AssertionError(f"{error}: {way}\n{world}") from error
        layer, steps = following, steps + 1
    return Survey(len(came_from), steps, not layer)


def fresh(world: World, terms: Terms, faults: int, came_from: dict[int, int]) -> list[World]:
    """The worlds behind one that were not known yet."""
    check(world, terms)
    found, onward, here = [], False, hash(world)
    for label, after in moves(world, terms, faults):
        onward = onward or (after != world and not label.startswith("!"))
        if (there := hash(after)) not in came_from:
            came_from[there] = here
            found.append(after)
    assert onward or is_rightly_still(world, terms), "stuck"
    return found


def retrace(
    world: World, start: World, terms: Terms, faults: int, came_from: dict[int, int]
) -> str:
    """The way to a world of which only hashes are known: each step is looked for again."""
    hashes = [hash(world)]
    while hashes[-1] != hash(start):
        hashes.append(came_from[hashes[-1]])
    labels, here = [], start
    for wanted in reversed(hashes[:-1]):
        steps = moves(here, terms, faults)
        label, here = next((name, after) for name, after in steps if hash(after) == wanted)
        labels.append(label)
    return ", ".join(labels)


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
