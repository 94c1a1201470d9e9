"""Agents of several hosts over real etcd: they meet, go through failures together, and end alike."""

from __future__ import annotations

import queue
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from procession._agent.agent import Patience
from procession._membership.model import Round, Terms
from procession.errors import RendezvousClosedError, RendezvousTimeoutError

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
from hosts import SimulatedHost, Stopped

pytestmark = [pytest.mark.program("etcd", "etcd-server"), pytest.mark.timeout(150)]


@pytest.fixture
def start(make_cluster: Callable[..., Any]) -> Iterator[Callable[..., list[SimulatedHost]]]:
    """Start hosts over one etcd; at the end of the test all are made to leave."""
    cluster: list[Any] = []
    hosts: list[SimulatedHost] = []

    def begin(terms: Terms, *names: str, **kw: Any) -> list[SimulatedHost]:
        if not cluster:
            cluster.append(make_cluster(kw.pop("size", 1)))
        fresh = [SimulatedHost(name, cluster[0].settings(), terms, **kw) for name in names]
        hosts.extend(fresh)
        return fresh

    begin.cluster = cluster  # type: ignore[attr-defined]
    yield begin
    for host in hosts:
        if host._thread.is_alive():
            host.leave()
    for host in hosts:
        host.join()


def one_gang(hosts: list[SimulatedHost]) -> Round:
    """Wait for the next gang of these hosts; all have the same idea of it."""
    begun = [host.started() for host in hosts]
    rounds = {now for now, _ in begun}
    assert len(rounds) == 1
    now = rounds.pop()
    assert sorted(rank for _, rank in begun) == list(range(len(hosts)))
    for host, (_, rank) in zip(hosts, begun, strict=True):
        assert now.seats[rank].host == host.name
    return now


def test_they_meet_and_succeed(start: Callable[..., list[SimulatedHost]]) -> None:
    hosts = start(Terms(3, 3), "n10", "n9", "n1")
    now = one_gang(hosts)
    assert [seat.host for seat in now.seats] == ["n1", "n9", "n10"]
    assert {seat.address for seat in now.seats} == {"127.0.0.1"}
    for host in hosts:
        host.crew.succeed()
    ends = [host.join() for host in hosts]
    assert {end and end.verdict and end.verdict.status for end in ends} == {0}


def test_a_failure_stops_all_and_starts_all_again(
    start: Callable[..., list[SimulatedHost]],
) -> None:
    hosts = start(Terms(2, 2, 1), "a", "b")
    assert one_gang(hosts).generation == 0
    failed = time.monotonic()
    hosts[1].crew.fail()
    again = one_gang(hosts)
    print(
        f"failure on one host, workers of the other stopped after {hosts[0].crew.stopped_at - failed:.3f} s"
    )
    assert (again.generation, again.restarts) == (1, 1)
    assert {seat.port for seat in again.seats} == {4321}
    hosts[0].crew.fail(status=7)
    for host in hosts:
        host.join()
        assert host.end is not None
        assert host.end.verdict is not None
        assert host.end.verdict[:2] == (7, "workers failed on a")
        assert "out of luck" in host.end.verdict.report


def test_a_lost_host_is_missed_and_the_rest_goes_on(
    start: Callable[..., list[SimulatedHost]],
) -> None:
    terms = Terms(2, 3, 1)
    hosts = [*start(terms, "a", "b"), *start(terms, "c", ttl=5)]
    one_gang(hosts)
    lost = hosts[2].agent._meeting
    lost._lease.close()  # type: ignore[attr-defined]  # as if its host had gone: nothing is heard of it
    rest = one_gang(hosts[:2])
    assert (rest.generation, rest.restarts) == (1, 1)
    hosts[2].join()  # the store tells it
    assert hosts[2].end is not None
    assert hosts[2].end.reason == "this host's lease has run out"
    assert hosts[2].crew.running is None


def test_who_comes_later_is_taken_in(start: Callable[..., list[SimulatedHost]]) -> None:
    first = start(Terms(1, 2), "b")
    assert one_gang(first).generation == 0
    second = start(Terms(1, 2), "a")
    now = one_gang([*first, *second])
    assert (now.generation, now.restarts) == (1, 0)
    second[0].leave()
    alone = one_gang(first)
    assert (alone.generation, alone.restarts) == (2, 0)
    second[0].join()
    assert isinstance(second[0].error, Stopped)


def test_a_spare_host_waits_without_end_and_takes_a_place(
    start: Callable[..., list[SimulatedHost]],
) -> None:
    terms, words = Terms(2, 2, 1), queue.SimpleQueue[str]()
    first = start(terms, "a", "b")
    one_gang(first)
    (spare,) = start(terms, "c", say=words.put)
    while words.get(timeout=30) != "waiting for a place: the gang is full (a, b)":
        pass
    spare.agent._waiting_since -= 3600
    spare.agent._meeting._news.ring()  # type: ignore[attr-defined]
    first[0].leave()
    now = one_gang([first[1], spare])
    assert ([seat.host for seat in now.seats], now.restarts) == (["b", "c"], 0)
    for host in (first[1], spare):
        host.crew.succeed()
    for host in (first[1], spare):
        end = host.join()
        assert end is not None
        assert end.verdict is not None
        assert end.verdict.status == 0


def test_too_few_hosts_in_time(start: Callable[..., list[SimulatedHost]]) -> None:
    words: list[str] = []
    hosts = start(Terms(3, 3), "a", "b", patience=Patience(5, 30), say=words.append)
    for host in hosts:
        host.join()
    assert isinstance(hosts[0].error, RendezvousTimeoutError)
    assert any(word.startswith("waiting for 1 of 3 hosts (have a, b), ") for word in words), words
    assert words[0].endswith(" s left")


def test_a_run_that_is_over_takes_nobody_in(start: Callable[..., list[SimulatedHost]]) -> None:
    hosts = start(Terms(1, 1), "a")
    one_gang(hosts)
    hosts[0].crew.succeed()
    hosts[0].join()
    late = start(Terms(1, 1), "b")
    late[0].join()
    assert isinstance(late[0].error, RendezvousClosedError)
    assert "the run is over: succeeded" in str(late[0].error)


def test_node_ranks_are_honoured(start: Callable[..., list[SimulatedHost]]) -> None:
    b = start(Terms(2, 2), "b", node_rank=0)
    a = start(Terms(2, 2), "a", node_rank=1)
    assert [seat.host for seat in one_gang([*b, *a]).seats] == ["b", "a"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_store_that_is_gone_ends_all_before_leases_run_out(
    start: Callable[..., list[SimulatedHost]], how: signal.Signals
) -> None:
    hosts = start(Terms(2, 2, 3), "a", "b", ttl=5)
    one_gang(hosts)
    gone = time.monotonic()
    start.cluster[0].members[0].send(how)  # type: ignore[attr-defined]
    for host in hosts:
        host.join()
        assert host.end is not None
        assert "etcd has not answered" in host.end.reason
        print(f"{how.name}: workers killed {host.crew.killed_at - gone:.2f} s after, lease 5 s")


def test_a_store_that_is_away_for_a_moment_is_no_failure(
    start: Callable[..., list[SimulatedHost]],
) -> None:
    hosts = start(Terms(2, 2, 1), "a", "b")
    one_gang(hosts)
    member = start.cluster[0].members[0]  # type: ignore[attr-defined]
    member.kill()
    member.start()
    start.cluster[0].wait_writable()  # type: ignore[attr-defined]
    for host in hosts:
        host.crew.succeed()
    for host in hosts:
        end = host.join()
        assert end is not None
        assert end.verdict is not None
        assert end.verdict.status == 0


def test_a_member_that_dies_is_no_failure(start: Callable[..., list[SimulatedHost]]) -> None:
    hosts = start(Terms(2, 2), "a", "b", size=3)
    one_gang(hosts)
    start.cluster[0].members[0].kill()  # type: ignore[attr-defined]
    for host in hosts:
        host.crew.succeed()
    for host in hosts:
        end = host.join()
        assert end is not None
        assert end.verdict is not None
        assert end.verdict.status == 0
