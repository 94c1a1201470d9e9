"""Hosts whose clocks differ: by how much is known, and the first to fail is the cause."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procession._membership.machine import Ended, Failing
from procession._membership.model import Account, Evidence, Fate, Terms, Verdict

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
from hosts import SimulatedHost

pytestmark = [pytest.mark.program("etcd", "etcd-server"), pytest.mark.timeout(150)]

SECOND = 10**9
SKEWS = (0, 7 * SECOND, -3600 * SECOND)


@pytest.fixture
def hosts(make_cluster: Callable[..., Any]) -> Any:
    """Three hosts with clocks of their own, in one gang; which of them leads is chance."""
    settings, terms = make_cluster(1).settings(), Terms(3, 3)
    made: list[SimulatedHost] = []
    try:
        for name, skew in zip("abc", SKEWS, strict=True):
            made.append(SimulatedHost(name, settings, terms, skew=skew, ttl=20))
            made[-1].crew.stubborn = True
        for host in made:
            host.started()
        yield made
    finally:
        for host in made:
            if host._thread.is_alive():
                host.crew.order(Ended(Fate.STOPPED))
                host.leave()
        for host in made:
            host.join()


def verdict_of(hosts: list[SimulatedHost]) -> tuple[Verdict, dict[str, Any]]:
    """The verdict, which is the same everywhere, and what all have told."""
    found = set()
    for host in hosts:
        host.join()
        assert host.end is not None
        found.add(host.end.verdict)
    assert len(found) == 1
    verdict = found.pop()
    assert verdict is not None
    return verdict, json.loads(verdict.report)


def fail(
    host: SimulatedHost, status: int, at: int, evidence: Evidence = Evidence.OWN_ERROR
) -> None:
    """Have a host tell that it failed at a time of the true clock, which its own shows skewed."""
    shown = at + SKEWS["abc".index(host.name)]
    account = Account(status, story=host.name, failed_at=shown, evidence=evidence)
    host.crew.order(Ended(Fate.FAILED, account))


@pytest.mark.parametrize("order", ["abc", "cba", "bca"])
def test_whoever_failed_first_is_the_cause_in_whatever_order_it_is_told(
    hosts: list[SimulatedHost], order: str
) -> None:
    true_time = hosts[0].clock()
    at = {name: true_time + 60 * SECOND * turn for name, turn in zip("cab", (1, 2, 3), strict=True)}
    by_name = {host.name: host for host in hosts}
    for name in order:
        by_name[name].crew.order(Failing())
    for name in order:
        fail(by_name[name], ord(name), at[name])
    verdict, told = verdict_of(hosts)
    assert (verdict.status, verdict.reason) == (ord("c"), "workers failed on c")
    assert (told["root"], told["by"], told["rivals"]) == (2, "clocks", [])
    leader = [host["doubt_ns"] for host in told["hosts"]].index(0)
    for host, skew in zip(told["hosts"], SKEWS, strict=True):
        print(f"{host['host']}: {host['ahead_ns'] / 1e9:.6f} s ± {host['doubt_ns'] / 1e6:.3f} ms")
        assert abs(host["ahead_ns"] - (skew - SKEWS[leader])) <= host["doubt_ns"]


def test_of_failures_that_clocks_cannot_order_the_telling_one_is_the_cause(
    hosts: list[SimulatedHost],
) -> None:
    at = hosts[0].clock()
    for host in hosts:
        host.crew.order(Failing())
    fail(hosts[1], 1, at, Evidence.PEER_LOST)
    fail(hosts[2], 137, at + 1000, Evidence.KILLED)  # a microsecond later
    hosts[0].crew.order(Ended(Fate.STOPPED))
    verdict, told = verdict_of(hosts)
    assert (verdict.status, verdict.reason) == (137, "workers failed on c")
    assert (told["root"], told["by"], told["rivals"]) == (2, "evidence", [1])
