"""The etcd client against real etcd: keys, leases, watches, members that die, stop or refuse."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from procession._etcd.client import Client
from procession._etcd.lease import Lease
from procession._etcd.settings import read_settings
from procession._etcd.watch import Watch
from procession._etcd.wire import EtcdError
from procession.errors import UsageError

pytestmark = [pytest.mark.program("etcd", "etcd-server"), pytest.mark.timeout(120)]

Views = "queue.Queue[dict[str, bytes]]"

_BEGUN: list[Watch | Lease] = []  # of a test


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """No thread goes on after a test, however that ends."""
    _BEGUN.clear()
    yield
    for thread in _BEGUN:
        if thread.is_alive():
            thread.close()


def watching(settings: Any, *names: str) -> tuple[Watch, queue.Queue[dict[str, bytes]]]:
    watch, views = unstarted(settings, *names)
    watch.start()
    return watch, views


def unstarted(settings: Any, *names: str) -> tuple[Watch, queue.Queue[dict[str, bytes]]]:
    views: queue.Queue[dict[str, bytes]] = queue.Queue()

    def tell() -> None:
        views.put({entry.name: entry.value for entry in watch.keys()[1]})

    watch = Watch(settings, names, tell, time.time_ns)
    _BEGUN.append(watch)
    return watch, views


def seen(views: queue.Queue[dict[str, bytes]], expected: dict[str, bytes]) -> None:
    """Wait until the watch has told of exactly these keys."""
    view: dict[str, bytes] = {}
    until = time.monotonic() + 30
    while view != expected:
        view = views.get(timeout=max(until - time.monotonic(), 0.01))


def test_an_etcd_that_is_full(make_cluster: Callable[..., Any]) -> None:
    cluster = make_cluster(1, "--quota-backend-bytes=300000")
    client = Client(cluster.settings())
    try:
        with pytest.raises(EtcdError, match=r"etcd takes nothing: .*database space exceeded"):
            client.put("/a", b"x" * 400_000)
    finally:
        client.close()


def test_keys(client: Client) -> None:
    assert client.create("/a/x", b"\0\xff")
    assert not client.create("/a/x", b"2")
    entry = client.read("/a/").keys[0]
    assert (entry.name, entry.value, entry.created) == ("/a/x", b"\0\xff", entry.modified)
    assert client.replace("/a/x", b"3", entry.modified)
    assert not client.replace("/a/x", b"4", entry.modified)
    assert not client.changed_since("/a/", client.revision)
    client.put("/b", b"")
    assert client.changed_since("/a/", entry.modified)
    assert [entry.value for entry in client.read("/a/").keys] == [b"3"]
    client.delete("/a/")
    assert client.read("/a/").keys == ()
    assert client.read("/b").keys[0].value == b""


def test_a_lease_takes_its_keys_with_it(client: Client) -> None:
    lease = client.grant(60)
    client.put("/k", b"v", lease)
    assert client.keep_alive(lease, 5) == 60
    client.revoke(lease)
    client.revoke(lease)
    assert client.read("/k").keys == ()
    assert client.keep_alive(lease, 5) == 0


def test_a_watch_tells_of_all_changes(client: Client, make_cluster: Any) -> None:
    client.put("/w/a", b"1")
    watch, views = watching(client._settings, "/w/")
    seen(views, {"/w/a": b"1"})
    client.put("/w/b", b"2")
    client.put("/other", b"3")
    seen(views, {"/w/a": b"1", "/w/b": b"2"})
    client.delete("/w/a")
    seen(views, {"/w/b": b"2"})
    watch.close()


def test_a_watch_follows_some_keys_and_then_others(client: Client) -> None:
    client.put("/w/a", b"1")
    client.put("/x", b"1")
    client.put("/xy", b"not asked for")
    watch, views = watching(client._settings, "/w/", "/x")
    seen(views, {"/w/a": b"1", "/x": b"1"})
    client.put("/x", b"2")
    seen(views, {"/w/a": b"1", "/x": b"2"})
    client.delete("/w/a")
    client.delete("/x")
    seen(views, {})
    watch.follow(["/x"])
    client.put("/w/a", b"2")
    client.put("/x", b"3")
    seen(views, {"/x": b"3"})
    assert watch.keys()[0] == ("/x",)
    watch.follow(["/w/", "/x", "/xy"])
    seen(views, {"/w/a": b"2", "/x": b"3", "/xy": b"not asked for"})
    watch.close()


def test_a_watch_goes_on_after_a_restart(make_cluster: Callable[..., Any]) -> None:
    cluster = make_cluster()
    client = Client(cluster.settings())
    watch, views = watching(cluster.settings(), "/w/")
    client.put("/w/a", b"1")
    seen(views, {"/w/a": b"1"})
    cluster.members[0].kill()
    with pytest.raises(EtcdError, match=str(cluster.members[0].port)):
        client.put("/w/b", b"2")
    cluster.members[0].start()
    cluster.wait_writable()
    client.put("/w/b", b"2")
    seen(views, {"/w/a": b"1", "/w/b": b"2"})
    watch.close()
    client.close()


def test_the_past_may_be_forgotten(make_cluster: Callable[..., Any]) -> None:
    cluster = make_cluster()
    client = Client(cluster.settings())
    client.put("/w/a", b"1")
    watch, views = watching(cluster.settings(), "/w/")
    seen(views, {"/w/a": b"1"})
    watch.close()
    client.put("/w/a", b"2")
    client.call("/v3/kv/compaction", {"revision": str(client.revision)})
    again, views = unstarted(cluster.settings(), "/w/")
    again._known = [1]  # as one that was away for long
    again.start()
    seen(views, {"/w/a": b"2"})
    again.close()
    client.close()


def test_another_member_does_when_one_is_killed(make_cluster: Callable[..., Any]) -> None:
    cluster = make_cluster(3)
    client = Client(cluster.settings())
    watch, views = watching(cluster.settings(), "/w/")
    client.put("/w/a", b"1")
    seen(views, {"/w/a": b"1"})
    cluster.members[0].kill()  # both were speaking to this one
    put_until_taken(client, "/w/b", b"2")
    seen(views, {"/w/a": b"1", "/w/b": b"2"})
    watch.close()
    client.close()


def put_until_taken(client: Client, name: str, value: bytes) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            return client.put(name, value)
        except EtcdError:
            assert time.monotonic() < until


def test_a_member_that_stops_is_left(make_cluster: Callable[..., Any]) -> None:
    cluster = make_cluster(3)
    client = Client(cluster.settings(request_timeout="0.5"))
    put_until_taken(client, "/w/a", b"1")
    cluster.members[0].send(signal.SIGSTOP)
    began = time.monotonic()
    put_until_taken(client, "/w/b", b"2")
    assert time.monotonic() - began < 20
    client.close()


def lease_events(client: Client, ttl: int) -> tuple[Lease, queue.Queue[str], threading.Event]:
    lost: queue.Queue[str] = queue.Queue()
    kept = threading.Event()
    lease = Lease(client, ttl, lambda _: kept.set(), lost.put)
    lease.start()
    _BEGUN.append(lease)
    return lease, lost, kept


def test_a_lease_is_kept(client: Client) -> None:
    lease, lost, kept = lease_events(client, 5)
    client.put("/k", b"v", lease.id)
    for _ in range(6):  # a fifth of it each
        kept.clear()
        assert kept.wait(30)
    assert lease.is_good
    assert lost.empty()
    assert client.read("/k").keys
    lease.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lease_is_given_up_before_it_can_run_out(
    make_cluster: Callable[..., Any], how: signal.Signals
) -> None:
    cluster = make_cluster()
    client = Client(cluster.settings())
    lease, lost, kept = lease_events(client, 3)
    assert kept.wait(30)
    began = time.monotonic()
    cluster.members[0].send(how)
    assert "etcd has not answered for 2.1 s" in lost.get(timeout=30)
    # What the lease had left when it began, less 0.3 of it for killing workers; a loaded machine
    # may take its time, but to be early is what matters.
    print(f"{how.name}: given up after {time.monotonic() - began:.2f} s of a lease of 3 s")
    assert not lease.is_good
    lease.close()
    client.close()


def test_a_lease_that_is_gone_is_an_answer(client: Client) -> None:
    lease, lost, kept = lease_events(client, 6)
    assert kept.wait(30)
    client.revoke(lease.id)
    assert lost.get(timeout=30) == "etcd has let this host's lease run out"
    lease.close()


def test_who_is_not_let_in_is_told(make_cluster: Callable[..., Any]) -> None:
    cluster = make_cluster()
    cluster.ask_for_passwords(root="secret")
    endpoint = cluster.endpoints
    patient = {"request_timeout": "10"}
    who = {**patient, "user": "root"}
    wrong = Client(read_settings(endpoint, who, {"ETCDCTL_PASSWORD": "guess"}))
    with pytest.raises(UsageError, match="etcd does not let root in") as caught:
        wrong.put("/a", b"1")
    assert "guess" not in str(caught.value)
    wrong.close()
    right = Client(read_settings(endpoint, patient, {"ETCDCTL_USER": "root:secret"}))
    right.put("/a", b"1")
    right._token = "forgotten"  # as after a restart of the member
    right.put("/a", b"2")
    watch, views = watching(right._settings, "/a")
    seen(views, {"/a": b"2"})
    watch.close()
    right.close()


def test_what_is_not_etcd_is_said(make_cluster: Callable[..., Any]) -> None:
    import http.server

    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        client = Client(read_settings(f"127.0.0.1:{server.server_port}", {}, {}))
        with pytest.raises(EtcdError, match="does not answer as etcd does"):
            client.put("/a", b"")
        client.close()
        server.shutdown()
        thread.join()
