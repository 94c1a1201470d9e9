"""The search finds what is wrong: each rule of membership broken once, and a world in which that shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from tests.unit import worlds
from tests.unit.worlds import World, explore

from procession._membership import machine, rules
from procession._membership.machine import CallOff, End, Kill, Phase, State, Step, Stop
from procession._membership.model import Fate, Member, Round, Terms, View
from procession._restarts.policy import RestartPolicy

pytestmark = pytest.mark.timeout(120)

TWO = (2, Terms(2, 2, 1), 1)
ONE_OR_TWO = (2, Terms(1, 2, 1), 1)
ONE_OF_TWO = (2, Terms(1, 1, 0), 1)
PAUSED = (2, Terms(2, 2, 1, RestartPolicy(least=1.0, most=2.0)), 1)


AFTER = rules._after


class Mutant(NamedTuple):
    """A rule, and what stands in its place."""

    room: Any
    name: str
    broken: Callable[..., Any]
    small: tuple[int, Terms, int] = ONE_OR_TWO


def without(effect: type, step: Callable[..., Step]) -> Callable[..., Step]:
    def forgetful(state: State, event: Any) -> Step:
        following, effects = step(state, event)
        return following, tuple(each for each in effects if not isinstance(each, effect))

    return forgetful


def seated_over(view: View, ready: list[Member], most: int) -> tuple[Member, ...]:
    return tuple(ready)


def seated_twice(view: View, ready: list[Member], most: int) -> tuple[Member, ...]:
    return (*ready[:1], *ready)[:most]


def by_its_own_clock(view: View, ready: list[Member], most: int) -> tuple[Member, ...]:
    return tuple(sorted(ready[:most], key=lambda member: member.since, reverse=True))


def take_seat_again(state: State) -> Step:
    now = state.view.round
    rank = now.rank(state.me) if now is not None else None
    if now is None or rank is None or rules.is_over(state.view):
        return state, ()
    mine = state._replace(generation=now.generation, phase=Phase.RUNNING)
    return mine, (machine.Start(now, rank),)


def after_for_nothing(view: View, now: Round, terms: Terms, *, rested: bool) -> Round | None:
    if len(view.members) < terms.least:
        return None
    return Round(now.generation + 1, view.members[: terms.most], now.restarts)


def after_no_time(view: View, now: Round, terms: Terms, *, rested: bool) -> Round | None:
    return AFTER(view, now, terms, rested=True)


def ends_and_kills_later(state: State, event: Any) -> Step:
    return state._replace(phase=Phase.ENDED), (End(None, event.reason), Kill())


def judged_its_own_way(state: State, verdict: Any) -> Step:
    ended = state._replace(phase=Phase.ENDED)
    return ended, (machine.Leave(), End(verdict._replace(status=1)))


def never(*_: object, **__: object) -> bool:
    return False


def always(*_: object, **__: object) -> bool:
    return True


MUTANTS = {
    "the next round does not wait for workers": Mutant(rules, "_is_settled", always),
    "a lost host is waited for": Mutant(
        rules,
        "_is_settled",
        lambda view: all(view.fate(s.id) in rules._FINAL for s in view.round.seats),
    ),
    "success of some is success": Mutant(
        rules,
        "_has_succeeded",
        lambda view: bool(view.outcomes) and Fate.SUCCEEDED in view.fates().values(),
        TWO,
    ),
    "a round has more hosts than asked for": Mutant(rules, "_seated", seated_over, ONE_OF_TWO),
    "a host has two ranks": Mutant(rules, "_seated", seated_twice),
    "failures are not counted": Mutant(rules, "_after", after_for_nothing, TWO),
    "a pause is not waited out": Mutant(rules, "_after", after_no_time, PAUSED),
    "nobody begins to rest": Mutant(
        machine, "_rest", lambda state, effects: (state, effects), PAUSED
    ),
    "too few are enough": Mutant(
        rules, "_first_round", lambda view, terms, **_: Round(0, view.members)
    ),
    "nobody calls a round off": Mutant(machine, "calls_off", never),
    "what was called off goes on": Mutant(machine, "is_over", never),
    "who is cut off does not kill": Mutant(
        machine, "_cut_off", without(Kill, machine._cut_off), TWO
    ),
    "who is cut off kills too late": Mutant(machine, "_cut_off", ends_and_kills_later, TWO),
    "a seat is taken twice": Mutant(machine, "_take_seat", take_seat_again),
    "a verdict is not heard": Mutant(machine, "_judged", lambda state, _: (state, ()), TWO),
    "success of all is forgotten": Mutant(machine, "_judged", judged_its_own_way, TWO),
    "who sees the end of a round does not stop": Mutant(
        machine, "_seen", without(Stop, machine._seen), TWO
    ),
    "who leaves tells nobody": Mutant(
        machine, "_ended", without(machine.Tell, machine._ended), TWO
    ),
    "a call off is forgotten": Mutant(machine, "_seen", without(CallOff, machine._seen)),
    "a call is never over": Mutant(machine, "_call_over", lambda state, _: (state, ())),
}


@pytest.mark.parametrize("what", MUTANTS)
def test_a_broken_rule_is_found(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = MUTANTS[what]
    original = getattr(mutant.room, mutant.name)
    monkeypatch.setattr(mutant.room, mutant.name, mutant.broken)
    events = {event: on for event, on in machine._ON.items() if on is original}
    for event in events:
        monkeypatch.setitem(machine._ON, event, mutant.broken)
    with pytest.raises(AssertionError) as caught:
        explore(*mutant.small)
    print(f"{what}: {str(caught.value).partition(chr(10))[0][:300]}")


def test_a_store_that_does_not_compare_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def takes_all(world: World, n: int) -> World:
        host = world.hosts[n]
        assert host is not None
        if not isinstance(host.sent[0], machine.Propose):
            return arrive(world, n)
        proposal = host.sent[0]._replace(revision=world.revision)
        return arrive(world.put(n, host._replace(sent=(proposal, *host.sent[1:]))), n)

    arrive = worlds.arrive
    monkeypatch.setattr(worlds, "arrive", takes_all)
    with pytest.raises(AssertionError, match="a round twice, or none"):
        explore(2, Terms(1, 2, 1), 2)


def test_a_stopped_agent_that_nobody_kills_for_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(world: World, n: int, host: worlds.Host) -> Any:
        if n == 1 and host.running is not None and not host.quiet:
            yield "stop 1", world.without(worlds.name(n)).put(n, host._replace(quiet=True))
        yield from at_the_store(world, n, host)

    at_the_store = worlds.at_the_store
    monkeypatch.setattr(worlds, "at_the_store", stops)
    with pytest.raises(AssertionError, match="two gangs at once"):
        explore(2, Terms(1, 2, 1), 0)


def test_two_that_lead_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def last(view: View) -> str | None:
        return view.members[-1].id if view.members else None

    monkeypatch.setattr(machine, "leader", last)
    monkeypatch.setattr(worlds, "leader", last)
    with pytest.raises(AssertionError, match="two leaders"):
        explore(2, Terms(1, 2, 1), 0, elects=False)
