"""The library at etcd: a store as torch's, hosts that meet by a handler, ``elastic_launch`` over hosts."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import procession
from procession._etcd.client import Client
from procession.errors import StoreTimeoutError
from procession.rendezvous import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStateError,
    RendezvousTimeoutError,
)
from procession.rendezvous.alone import LocalStore
from procession.rendezvous.etcd_rendezvous_backend import create_backend
from procession.rendezvous.etcd_store import EtcdStore
from procession.rendezvous.registry import get_rendezvous_handler
from procession.rendezvous.store import PrefixStore, Store
from procession.testing import stop, wait_for_text, wait_gone

SCRIPT = Path(__file__).parents[1] / "scripts" / "elastic_host.py"
SHORT = timedelta(seconds=0.05)

pytestmark = [pytest.mark.program("etcd", "etcd-server"), pytest.mark.timeout(150)]


@pytest.fixture(params=["local", "etcd", "prefix"])
def store(request: pytest.FixtureRequest) -> Iterator[Store | PrefixStore]:
    """A store of each kind."""
    if request.param == "local":
        yield LocalStore()
        return
    cluster = request.getfixturevalue("make_cluster")(1)
    client = Client(cluster.settings())
    found = EtcdStore(client, cluster.settings(), "/run/store")
    yield found if request.param == "etcd" else PrefixStore("7", PrefixStore("job", found))
    client.close()


def test_a_store_does_what_torchs_does(store: Store | PrefixStore) -> None:
    store.set("text", "ä")
    store.set("bytes", b"\x00\xff")
    store.set("a/b c%", b"odd")
    assert (store.get("text"), store.get("bytes"), store.get("a/b c%")) == (
        "ä".encode(),
        b"\x00\xff",
        b"odd",
    )
    assert [store.add("n", 3), store.add("n", -1), store.get("n")] == [3, 2, b"2"]
    assert store.compare_set("new", "x", "y") == b"x"
    assert not store.check(["new"])
    assert store.compare_set("new", "", "y") == b"y"
    assert store.compare_set("new", "x", "z") == b"y"
    assert store.compare_set("new", "y", "z") == b"z"
    store.append("log", "a")
    store.append("log", b"b")
    store.multi_set(["p", "q"], [b"1", "2"])
    assert store.multi_get(["log", "p", "q"]) == [b"ab", b"1", b"2"]
    assert (store.check(["p", "q"]), store.check(["p", "no"])) == (True, False)
    assert store.num_keys() == 8
    assert [store.delete_key("p"), store.delete_key("p")] == [True, False]
    assert store.num_keys() == 7


def test_a_key_that_does_not_come(store: Store | PrefixStore) -> None:
    with pytest.raises(StoreTimeoutError, match=r"(7/|job/)*no: not there after 0\.05 s"):
        store.wait(["no"], SHORT)
    store.set_timeout(SHORT)
    assert store.timeout == SHORT
    with pytest.raises(LookupError):
        store.get("no")


def test_who_waits_for_a_key_gets_it(store: Store | PrefixStore) -> None:
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(store.get, "late")
        store.set("other", b"")
        assert not reader.done()
        store.set("late", b"here")
        assert reader.result(30) == b"here"


def test_all_that_is_added_at_once_counts(store: Store | PrefixStore) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: store.add("n", 1), range(40)))
    assert sorted(found) == list(range(1, 41))


@pytest.fixture
def meeting(make_cluster: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Make a handler of a host; all share one etcd."""
    cluster, made = make_cluster(1), list[Any]()

    def make(least: int, most: int, **conf: Any) -> Any:
        params = RendezvousParameters(
            "etcd", cluster.members[0].endpoint, "job", least, most, **conf
        )
        made.append(get_rendezvous_handler(params))
        return made[-1]

    make.cluster = cluster  # type: ignore[attr-defined]
    yield make
    for handler in made:
        handler._heart.stop()
        handler._state_holder.close()


def meet(handlers: list[Any]) -> list[RendezvousInfo]:
    with ThreadPoolExecutor(len(handlers)) as pool:
        return list(pool.map(lambda handler: handler.next_rendezvous(), handlers))


def ask_until(seconds: float, met: Callable[[], bool]) -> None:
    """Ask again and again, as an agent does."""
    until = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < until
        threading.Event().wait(0.02)


def test_hosts_meet_and_meet_again(meeting: Callable[..., Any]) -> None:
    handlers = [meeting(3, 3, local_addr=f"10.0.0.{n}") for n in range(3)]
    for _ in range(2):
        found = meet(handlers)
        assert sorted((info.rank, info.world_size) for info in found) == [(0, 3), (1, 3), (2, 3)]
        first = next(n for n, info in enumerate(found) if info.rank == 0)
        where = [info.bootstrap_store_info for info in found]
        assert {info and info.master_addr for info in where} == {f"10.0.0.{first}"}
        found[0].store.set("key", b"value")
        assert found[2].store.get("key") == b"value"
        assert [handler.num_nodes_waiting() for handler in handlers] == [0, 0, 0]
    assert {handler.get_backend() for handler in handlers} == {"etcd"}
    assert [handler.shutdown() for handler in handlers] == [True] * 3
    assert handlers[0].is_closed()
    with pytest.raises(RendezvousClosedError):
        handlers[0].next_rendezvous()


def test_a_state_is_never_seen_older_than_it_was_read(meeting: Callable[..., Any]) -> None:
    """Who has got a seat asks at once who waits, and what etcd tells of changes may be late."""
    params = RendezvousParameters("etcd", meeting.cluster.endpoints, "run", 1, 1)  # type: ignore[attr-defined]
    backend, _ = create_backend(params)
    first = backend.set_state(b"1")
    assert first is not None
    assert backend.glance() == first[:2]
    ask_until(30, lambda: bool(backend._watched().keys()[1]))
    backend._watched().close()  # nothing is told any more
    second = backend.set_state(b"2", first[1])
    assert second is not None
    assert backend.glance() == second[:2] == (b"2", second[1])
    backend.close()


def test_who_comes_later_is_seen_waiting(meeting: Callable[..., Any]) -> None:
    first = meeting(1, 2, last_call_timeout=1)
    assert meet([first])[0].world_size == 1
    second = meeting(1, 2, last_call_timeout=1)
    with ThreadPoolExecutor(1) as pool:
        comes = pool.submit(second.next_rendezvous)
        ask_until(30, lambda: first.num_nodes_waiting() > 0)
        assert first.next_rendezvous().world_size == 2
        assert comes.result(30).world_size == 2
    for handler in (first, second):
        handler.shutdown()


def test_too_few_come(meeting: Callable[..., Any]) -> None:
    handler = meeting(2, 2, join_timeout=3)
    with pytest.raises(RendezvousTimeoutError, match="not enough hosts came: 1 of 2"):
        handler.next_rendezvous()
    handler.shutdown()


def test_who_cannot_reach_etcd_is_told_before_others_go_on(meeting: Callable[..., Any]) -> None:
    handler = meeting(1, 2, last_call_timeout=1, keep_alive_interval=1, heartbeat_timeout=1)
    meet([handler])
    meeting.cluster.members[0].kill()  # type: ignore[attr-defined]
    with pytest.raises(RendezvousConnectionError, match="go on without this host"):
        ask_until(60, lambda: handler.num_nodes_waiting() < 0)
    assert handler.shutdown() is False


def test_no_etcd_there(meeting: Callable[..., Any]) -> None:
    meeting.cluster.members[0].kill()  # type: ignore[attr-defined]
    with pytest.raises(RendezvousConnectionError, match="etcd does not answer"):
        meeting(2, 2)


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"ssl_cert": "/c"}, "needs both cert=PATH and key=PATH"),
        ({"password_file": "/no/such"}, "password_file=/no/such"),
        ({"request_timeout": "never"}, "request_timeout=never: give seconds"),
    ],
)
def test_settings_are_checked(conf: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_rendezvous_handler(RendezvousParameters("etcd-v2", "h:1", "job", 2, 2, **conf))


class Bomb:
    """What a pickle makes of this leaves a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("bombed",)


def test_what_stands_in_the_store_is_never_run(
    meeting: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    client = Client(meeting.cluster.settings())  # type: ignore[attr-defined]
    for name in ("state", "store/torch.rendezvous.job.0%2Fkey"):
        client.put(f"/procession-rendezvous/job/{name}", pickle.dumps(Bomb()))
    client.close()
    handler = meeting(1, 2)
    with pytest.raises(RendezvousStateError, match="makes no sense"):
        handler.next_rendezvous()
    assert handler.leave() is False
    assert not (tmp_path / "bombed").exists()


@pytest.fixture
def launched(make_cluster: Callable[..., Any]) -> Callable[..., list[Any]]:
    """Launch a function on two hosts, of one and of two workers; return what each has printed."""
    endpoint = make_cluster(1).members[0].endpoint
    source = str(Path(procession.__file__).parents[1])

    def launch(restarts: int, fails: str) -> list[Any]:
        hosts = [
            subprocess.Popen(
                [sys.executable, str(SCRIPT), endpoint, nproc, str(restarts), fails],
                env={**os.environ, "PYTHONPATH": source, "PYTHONFAULTHANDLER": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for nproc in ("1", "2")
        ]
        try:
            said = [host.communicate(timeout=100) for host in hosts]
        finally:
            for host in hosts:
                host.send_signal(signal.SIGABRT)  # one that hangs tells where
                print(host.communicate()[1])
        return [json.loads(out) if out else err for out, err in said]

    return launch


@pytest.mark.parametrize("fails", ["", "0-2"])
def test_a_function_is_launched_over_hosts(launched: Callable[..., list[Any]], fails: str) -> None:
    found = launched(1, fails)
    workers = {rank: told for host in found for rank, told in host.items()}
    assert sorted(workers) == ["0", "1", "2"], found
    assert {told["total"] for told in workers.values()} == {3}
    assert [told["listens"] for told in workers.values()] == [[], [], []]
    if not fails:
        assert {told["restarts"] for told in workers.values()} == {0}


def test_a_failure_for_good_ends_all_hosts(launched: Callable[..., list[Any]]) -> None:
    """The others wait for a peer that never comes: nobody but the handler can tell them."""
    found = launched(0, "0-1")
    assert {"failed": 7} in found
    closed = next(host["closed"] for host in found if "closed" in host)
    assert closed == f"the rendezvous job failed on {os.uname().nodename}: rank 1 (exit code 7)"


def test_the_host_that_all_name_is_the_one_whose_peers_were_lost(
    launched: Callable[..., list[Any]], tmp_path: Path
) -> None:
    """The others' workers fail first, of the end of one there: that tells only of a connection."""
    told = tmp_path / "told"
    told.mkdir()
    found = launched(0, str(told))
    assert {"failed": 7} in found
    other = next(host for host in found if host != {"failed": 7})
    cause = rf"the run had failed before on {os.uname().nodename}: rank [01] \(exit code 7\)"
    assert other["failed"] == 1
    assert re.fullmatch(cause, other["notes"][0])


MEMBER, RELAY = (SCRIPT.parent / name for name in ("elastic_member.py", "relay.py"))


class Members:
    """Three hosts of an ``elastic_launch``; one of them has a way to etcd that can be cut."""

    def __init__(self, here: Path, endpoint: str) -> None:
        self.here = here
        for name in ("stays", "stopped", "cut"):
            (here / name).touch()
        environ = {**os.environ, "PYTHONPATH": str(Path(procession.__file__).parents[1])}
        relay = [sys.executable, str(RELAY), *endpoint.split(":")]
        self.relay = subprocess.Popen(relay, stdout=subprocess.PIPE, text=True)
        assert self.relay.stdout is not None
        ways = {"stays": endpoint, "stopped": endpoint}
        ways["cut"] = f"127.0.0.1:{self.relay.stdout.readline().strip()}"
        self.hosts = {
            name: subprocess.Popen(
                [sys.executable, str(MEMBER), way, name, str(here)],
                env=environ,
                stdout=subprocess.PIPE,
                text=True,
            )
            for name, way in ways.items()
        }

    def worker(self, name: str, size: int) -> int:
        """The pid of a host's worker in a gang of so many, once it is there."""
        mark = f"of {size}: "
        return int(wait_for_text(self.here / name, mark).rpartition(mark)[2])

    def end(self, name: str) -> str:
        return self.hosts[name].communicate(timeout=60)[0].strip()

    def close(self) -> None:
        (self.here / "go").touch()
        for process in (self.relay, *self.hosts.values()):
            process.send_signal(signal.SIGKILL)
            process.communicate()


@pytest.fixture
def members(make_cluster: Callable[..., Any], tmp_path: Path) -> Iterator[Members]:
    made = Members(tmp_path, make_cluster(1).members[0].endpoint)
    yield made
    made.close()


def test_workers_of_a_host_that_has_lost_touch_are_gone_before_the_next_gang(
    members: Members,
) -> None:
    """Their grace is 300 s, and one of the agents is stopped: the guardians end them in time."""
    old = [members.worker(name, 3) for name in members.hosts]
    stop(members.hosts["stopped"].pid)
    members.relay.kill()
    assert members.worker("stays", 1) not in old
    assert not wait_gone(old, 0)
    members.hosts["stopped"].send_signal(signal.SIGCONT)
    for name in ("stopped", "cut"):
        assert members.end(name).startswith("RendezvousConnectionError the rendezvous job")
    (members.here / "go").touch()
    assert members.end("stays") == "done"
