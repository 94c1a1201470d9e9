"""Ranks of workers over hosts, and what an agent tells."""

from __future__ import annotations

import json
import threading
from datetime import timedelta

import pytest

from procession.agent.server import RunResult, Worker, WorkerGroup, WorkerSpec, WorkerState
from procession.agent.server.ranks import (
    HostRole,
    Ranks,
    agree,
    arrive,
    assign,
    have_all_arrived,
)
from procession.agent.server.telling import Context, make_event, worker_events
from procession.errors import RendezvousClosedError, RendezvousTimeoutError, UsageError
from procession.events import EventSource
from procession.multiprocessing.errors import ProcessFailure
from procession.rendezvous import RendezvousParameters
from procession.rendezvous.alone import Alone, LocalStore
from procession.rendezvous.registry import get_rendezvous_handler


def spec(**kw: object) -> WorkerSpec:
    handler = Alone("static", "run", "127.0.0.1", 1)
    known: dict[str, object] = {"entrypoint": "/bin/true", **kw}
    return WorkerSpec("trainer", 2, handler, **known)  # type: ignore[arg-type]


def test_ranks_go_on_from_host_to_host_and_in_each_role() -> None:
    hosts = [HostRole("a", 2), HostRole("b", 1), HostRole("a", 3)]
    assert assign(hosts) == [Ranks(0, 6, 0, 5), Ranks(2, 6, 0, 1), Ranks(3, 6, 2, 5)]


def test_hosts_agree_over_a_store() -> None:
    store, found = LocalStore(), dict[int, Ranks]()

    def host(rank: int) -> None:
        found[rank] = agree(store, rank, 3, HostRole("a", rank + 1))
        arrive(store, 3)
        assert have_all_arrived(store, 20)

    threads = [threading.Thread(target=host, args=(rank,)) for rank in (2, 1, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert {rank: ranks.first for rank, ranks in found.items()} == {0: 0, 1: 1, 2: 3}


def test_a_store_waits_no_longer_than_it_may() -> None:
    with pytest.raises(RendezvousTimeoutError, match="k: not there"):
        LocalStore().wait(["k"], timedelta(seconds=0.01))


@pytest.mark.parametrize(
    ("kw", "message"),
    [
        ({"monitor_interval": 0}, "monitor_interval is 0"),
        ({"entrypoint": None}, "needs an entrypoint"),
    ],
)
def test_a_spec_is_checked(kw: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        spec(**kw)


def test_fn_is_deprecated() -> None:
    with pytest.warns(DeprecationWarning, match="use WorkerSpec.entrypoint"):
        made = spec(entrypoint=None, fn=assign)
    assert made.get_entrypoint_name() == "assign"
    assert spec().get_entrypoint_name() == "true"


def test_a_worker_shows_its_ranks() -> None:
    worker = Worker(1, 5, 3, 8, 4)
    assert str(worker) == "local_rank=1,global_rank=5,role_rank=3,world_size=8,role_world_size=4"
    assert WorkerState.is_running(WorkerState.UNHEALTHY)
    assert not WorkerState.is_running(WorkerState.STOPPED)


def test_events_have_what_torchs_have() -> None:
    group = WorkerGroup(spec())
    group.workers = [Worker(0, 4, 4, 6, 6), Worker(1, 5, 5, 6, 6)]
    failure = ProcessFailure(1, 77, 3, "")
    result = RunResult(WorkerState.FAILED, failures={5: failure})
    told = list(worker_events(Context(group, 1, 9), result))
    assert [event.metadata["state"] for event in told] == ["TERMINATED", "FAILED"]
    details = json.loads(str(told[1].metadata["metadata"]))
    assert (details["exit_code"], details["worker_pid"], details["local_rank"]) == (3, 77, 1)
    assert told[1].name == "torchelastic.worker.status.FAILED"
    assert told[1].timestamp > 0
    agent = make_event(Context(group, 1, 9), "RENDEZVOUS", EventSource.AGENT, duration_ms=1.5)
    assert (agent.metadata["duration_ms"], agent.metadata["global_rank"]) == (1.5, None)


@pytest.mark.parametrize("backend", ["static", "c10d", "etcd", "etcd-v2"])
def test_one_host_needs_nobody(backend: str) -> None:
    handler = get_rendezvous_handler(RendezvousParameters(backend, "localhost:0", "run", 1, 1))
    info = handler.next_rendezvous()
    assert (info.rank, info.world_size, handler.num_nodes_waiting()) == (0, 1, 0)
    assert info.bootstrap_store_info is not None
    assert info.bootstrap_store_info.master_port > 0
    assert handler.get_backend() == backend
    assert handler.shutdown()
    assert handler.is_closed()
    with pytest.raises(RendezvousClosedError):
        handler.next_rendezvous()
