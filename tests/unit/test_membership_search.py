"""Membership searched: all interleavings of small worlds, and long random ways through larger ones."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.worlds import Ways, World, come_to_rest, explore, guarded, survey

from procession._membership.model import Terms
from procession._restarts.policy import RestartPolicy

pytestmark = pytest.mark.timeout(300)

PAUSES = RestartPolicy(least=1.0, most=2.0)


def short(value: object) -> str:
    """A parameter in a test's name."""
    if not isinstance(value, Terms):
        return str(value)
    pauses = "-pauses" if value.policy.most else ""
    return f"{value.least}to{value.most}-restarts{value.max_restarts}{pauses}"


@pytest.mark.parametrize(
    ("hosts", "terms", "faults"),
    [
        (1, Terms(1, 1, 1), 3),
        (2, Terms(2, 2, 0), 1),
        (2, Terms(2, 2, 1), 1),
        (2, Terms(1, 2, 1), 1),
        (2, Terms(1, 1, 0), 1),
        (2, Terms(2, 2, 1, PAUSES), 1),
        (2, Terms(1, 2, 1, PAUSES), 1),
    ],
    ids=short,
)
def test_every_interleaving(hosts: int, terms: Terms, faults: int) -> None:
    found = explore(hosts, terms, faults)
    print(
        f"{hosts} hosts, {short(terms)}, {faults} faults: {found.worlds} worlds, {found.still} at rest"
    )
    assert found.still > 0


@pytest.mark.parametrize(
    "terms", [Terms(2, 2, 1), Terms(1, 2, 1), Terms(1, 1, 0), Terms(2, 2, 1, PAUSES)], ids=short
)
def test_every_interleaving_where_all_see_all(terms: Terms) -> None:
    found = explore(2, terms, 1, elects=False)
    print(
        f"2 hosts, {short(terms)}, 1 fault, all see all: {found.worlds} worlds, {found.still} at rest"
    )
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
    ids=short,
)
def test_every_interleaving_of_larger_worlds(hosts: int, terms: Terms, faults: int) -> None:
    found = explore(hosts, terms, faults)
    print(
        f"{hosts} hosts, {short(terms)}, {faults} faults: {found.worlds} worlds, {found.still} at rest"
    )
    assert found.still > 0


@pytest.mark.stress
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    ("hosts", "terms", "faults", "most"),
    [
        (3, Terms(3, 3, 1), 1, 10**8),
        (3, Terms(2, 3, 1), 1, 10**6),
        (3, Terms(3, 3, 0), 2, 10**8),  # 3.7 million
        (3, Terms(2, 3, 1), 2, 10**6),
        (3, Terms(2, 3, 1, PAUSES), 2, 10**6),
        (4, Terms(2, 4, 1), 2, 10**6),
    ],
    ids=short,
)
def test_more_worlds_than_can_be_kept(hosts: int, terms: Terms, faults: int, most: int) -> None:
    """Minutes: where there are more, the first million, all interleavings of so many steps."""
    found = survey(hosts, terms, faults, most)
    print(
        f"{hosts} hosts, {short(terms)}, {faults} faults: {found.worlds} worlds, "
        f"{'all there are' if found.all else 'all'} within {found.steps} steps"
    )
    assert found.all or found.worlds >= most


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    least=st.integers(1, 3),
    spare=st.integers(0, 2),
    restarts=st.integers(0, 3),
    policy=st.sampled_from([RestartPolicy(), PAUSES]),
    data=st.data(),
)
def test_long_random_ways(
    least: int, spare: int, restarts: int, policy: RestartPolicy, data: st.DataObject
) -> None:
    terms = Terms(least, least + spare, restarts, policy)
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
