"""Hosts that come and go at a backend that holds one value."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from procession._membership.model import Member, Round
from procession._os.boottime import boottime_ns
from procession._os.reach import is_this_host
from procession.errors import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousGracefulExitError,
    RendezvousStateError,
    RendezvousTimeoutError,
    UsageError,
)
from procession.rendezvous import RendezvousInfo, RendezvousParameters
from procession.rendezvous.alone import LocalStore
from procession.rendezvous.c10d_rendezvous_backend import C10dRendezvousBackend
from procession.rendezvous.dynamic_rendezvous import (
    DynamicRendezvousHandler,
    RendezvousBackend,
    RendezvousTimeout,
    create_handler,
)
from procession.rendezvous.shared import SharedState, decode, encode

LIFETIME = 4  # seconds: signs of life that may be missing, one a second


class Shelf(RendezvousBackend):
    """One value in memory; the token is how often it was written."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: tuple[bytes, int] | None = None

    @property
    def name(self) -> str:
        return "shelf"

    def get_state(self) -> tuple[bytes, Any] | None:
        return self._kept

    def set_state(self, state: bytes, token: Any = None) -> tuple[bytes, Any, bool] | None:
        with self._lock:
            if token != (self._kept[1] if self._kept else None):
                return (*self._kept, False) if self._kept else None
            self._kept = state, (token or 0) + 1
            return *self._kept, True


class Meeting:
    """Handlers at one shelf, each asked in a thread of its own."""

    def __init__(self) -> None:
        self.shelf, self.store = Shelf(), LocalStore()
        self.handlers: list[DynamicRendezvousHandler] = []

    def handler(
        self, least: int, most: int, join: float = 30, last_call: float = 0.2, beats: int = 15
    ) -> DynamicRendezvousHandler:
        """One that is taken for dead after so many seconds: a busy machine makes any thread wait."""
        times = RendezvousTimeout(timedelta(seconds=join), timedelta(seconds=last_call))
        made = DynamicRendezvousHandler.from_backend(
            "run", self.store, self.shelf, least, most, "127.0.0.1", times, 1, LIFETIME
        )
        self.handlers.append(made)
        return made

    def meet(self, *handlers: DynamicRendezvousHandler) -> list[Any]:
        """What each is told, an exception included."""
        found: list[Any] = [None] * len(handlers)

        def ask(index: int) -> None:
            try:
                found[index] = handlers[index].next_rendezvous()
            except Exception as error:
                found[index] = error

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(handlers))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(40)
        return found


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    made = Meeting()
    yield made
    for handler in made.handlers:
        handler.shutdown()


def seats(found: list[RendezvousInfo]) -> list[tuple[int, int]]:
    return sorted((info.rank, info.world_size) for info in found)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


def test_hosts_meet_and_meet_again(meeting: Meeting) -> None:
    hosts = [meeting.handler(4, 4) for _ in range(4)]
    first = meeting.meet(*hosts)
    assert seats(first) == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert len({info.bootstrap_store_info.master_port for info in first}) == 1
    assert [host.num_nodes_waiting() for host in hosts] == [0] * 4
    again = meeting.meet(*hosts)
    assert [info.rank for info in again] == [info.rank for info in first]


def test_who_comes_later_waits_and_is_taken_in(meeting: Meeting) -> None:
    first = meeting.handler(1, 2)
    assert seats(meeting.meet(first)) == [(0, 1)]
    second = meeting.handler(1, 2)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(second.next_rendezvous()))
    thread.start()
    until(lambda: first.num_nodes_waiting() > 0)
    found += meeting.meet(first)
    thread.join(40)
    assert seats(found) == [(0, 2), (1, 2)]


@pytest.fixture
def spare(meeting: Meeting) -> Iterator[Any]:
    """A third host where two are enough, that waits for longer than a host may wait for a gang."""
    with ThreadPoolExecutor(1) as pool:
        assert seats(meeting.meet(meeting.handler(2, 2), meeting.handler(2, 2))) == [(0, 2), (1, 2)]
        third = meeting.handler(2, 2, join=0.5)
        waits = pool.submit(third.next_rendezvous)
        threading.Event().wait(1)  # this is what is asked about
        assert not waits.done()
        third._settings = meeting.handlers[0].settings  # patient from now on: a busy machine
        yield waits
        third.shutdown()


def test_a_spare_host_waits_without_end_and_takes_a_place(meeting: Meeting, spare: Any) -> None:
    assert meeting.handlers[0].leave()
    assert seats([*meeting.meet(meeting.handlers[1]), spare.result(30)]) == [(0, 2), (1, 2)]


def test_a_spare_host_that_was_not_needed(meeting: Meeting, spare: Any) -> None:
    assert meeting.handlers[0].shutdown()
    with pytest.raises(RendezvousGracefulExitError):
        spare.result(30)


def test_a_spare_host_is_told_of_a_failure(meeting: Meeting, spare: Any) -> None:
    meeting.handlers[0].set_failed("rank 0 (exit code 7)")
    with pytest.raises(RendezvousClosedError, match="rank 0"):
        spare.result(30)


def test_who_leaves_is_not_waited_for(meeting: Meeting) -> None:
    stays, leaves = (meeting.handler(1, 2, last_call=5) for _ in range(2))
    meeting.meet(stays, leaves)
    assert leaves.leave()
    assert stays.num_nodes_waiting() > 0  # at once
    assert seats(meeting.meet(stays)) == [(0, 1)]
    again = meeting.handler(1, 2)
    with ThreadPoolExecutor(1) as pool:
        comes = pool.submit(again.next_rendezvous)
        until(lambda: stays.num_nodes_waiting() > 0)
        assert seats([*meeting.meet(stays), comes.result(30)]) == [(0, 2), (1, 2)]


def test_a_host_that_dies_while_the_gang_forms_is_not_waited_for(meeting: Meeting) -> None:
    """It has the first seat, and has not said yet where the workers meet."""
    dies, stays = (meeting.handler(1, 2, last_call=5) for _ in range(2))
    with ThreadPoolExecutor(2) as pool:
        seated = pool.submit(dies._seated, time.monotonic() + 30)
        until(lambda: bool(stays._state_holder.read().members))  # it has come first
        found = pool.submit(stays.next_rendezvous)
        first = seated.result(30).round
        assert first
        assert first.rank(dies._node.id) == 0
        assert seats([found.result(40)]) == [(0, 1)]


def test_who_gives_no_sign_of_life_is_left_out(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays, dies = (meeting.handler(1, 2, last_call=20, beats=4) for _ in range(2))
    gives, heard = dies._heart._give, threading.Event()

    def give_sign(me: str) -> bool:
        if not heard.is_set():
            raise RendezvousConnectionError("cut off")
        return gives(me)

    monkeypatch.setattr(dies._heart, "_give", give_sign)
    meeting.meet(stays, dies)
    assert 0 < dies.kill_at_ns - boottime_ns() < 0.85 * LIFETIME * 1e9
    until(lambda: stays.num_nodes_waiting() > 0)
    assert dies.kill_at_ns < boottime_ns()
    assert seats(meeting.meet(stays)) == [(0, 1)]
    with pytest.raises(RendezvousConnectionError, match="may go on without this host"):
        dies.num_nodes_waiting()
    heard.set()  # it is too late: a sign of life from whom all take for dead changes nothing

    def is_told() -> bool:
        with pytest.raises(RendezvousConnectionError) as found:
            dies.num_nodes_waiting()
        return "have taken this host for dead" in str(found.value)

    until(is_told)
    assert dies.kill_at_ns < boottime_ns()
    assert meeting.handler(1, 2).kill_at_ns == 0  # it has no workers


def test_workers_share_a_store_where_hosts_meet_at_torchs(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not meeting.handler(1, 1).use_agent_store
    meeting.store = type("TCPStore", (LocalStore,), {"__module__": "torch._C"})()
    assert meeting.handler(1, 1).use_agent_store
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    assert not meeting.handler(1, 1).use_agent_store


def test_too_few_in_time(meeting: Meeting) -> None:
    found = meeting.meet(meeting.handler(2, 2, join=0.5))
    assert isinstance(found[0], RendezvousTimeoutError)
    assert "1 of 2" in str(found[0])
    assert decode(meeting.shelf.get_state()[0]).members == ()  # type: ignore[index]


def test_a_closed_rendezvous_takes_nobody_in(meeting: Meeting) -> None:
    host = meeting.handler(1, 1)
    assert not host.is_closed()
    host.set_closed()
    assert host.is_closed()
    assert isinstance(meeting.meet(host)[0], RendezvousClosedError)
    assert host.shutdown()


def test_the_first_failure_is_the_one_that_all_hosts_name(meeting: Meeting) -> None:
    first, second, third = (meeting.handler(3, 3) for _ in range(3))
    host = os.uname().nodename
    meeting.meet(first, second, third)
    assert first.set_failed("rank 0 (exit code 7)") == ""
    assert second.set_failed("rank 1 (SIGSEGV)") == f"on {host}: rank 0 (exit code 7)"
    assert third.num_nodes_waiting() > 0
    (closed,) = meeting.meet(third)
    assert str(closed) == f"the rendezvous run failed on {host}: rank 0 (exit code 7)"


def test_a_state_goes_to_bytes_and_back() -> None:
    member = Member("a", "a", 3, 1, None, "addr", 5)
    state = SharedState((member,), (("a", 2),), Round(1, (member,)), ("a",), 4, closed=True)
    assert decode(encode(state)) == state
    for damaged in (b"{", b"[]", b"{}"):
        with pytest.raises(RendezvousStateError, match="makes no sense"):
            decode(damaged)


def test_create_handler_reads_settings() -> None:
    params = RendezvousParameters("shelf", "", "run", 1, 2, join_timeout=7, keep_alive_interval="9")
    settings = create_handler(LocalStore(), Shelf(), params).settings
    assert settings.timeout.join == timedelta(seconds=7)
    assert settings.timeout.last_call == timedelta(seconds=30)
    assert settings.keep_alive_interval == timedelta(seconds=9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("", 1, 1), "run id is empty"), (("r", 0, 1), "min_nodes 0"), (("r", 3, 2), "max_nodes 2")],
)
def test_settings_are_checked(arguments: tuple[str, int, int], message: str) -> None:
    run_id, least, most = arguments
    with pytest.raises(UsageError, match=message):
        DynamicRendezvousHandler.from_backend(run_id, LocalStore(), Shelf(), least, most)
    with pytest.raises(UsageError, match="close timeout"):
        RendezvousTimeout(close=timedelta(0))


class Keys:
    """As much of a TCPStore as the c10d backend uses."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def compare_set(self, key: str, before: str, after: str) -> bytes:
        if self.kept.get(key, b"").decode() == before:
            self.kept[key] = after.encode()
        return self.kept[key]

    def get(self, key: str) -> bytes:
        if key == "torch.rendezvous.lost":
            raise RuntimeError("gone")
        return self.kept[key]


def test_the_c10d_backend_compares() -> None:
    backend = C10dRendezvousBackend(Keys(), "run")
    assert (backend.name, backend.get_state()) == ("c10d", None)
    written = backend.set_state(b"one")
    assert written is not None
    assert written[0] == b"one"
    assert written[2]
    late = backend.set_state(b"two")
    assert late is not None
    assert (late[0], late[2]) == (b"one", False)
    better = backend.set_state(b"two", late[1])
    assert better is not None
    assert better[2]
    with pytest.raises(RendezvousConnectionError, match="gone"):
        C10dRendezvousBackend(Keys(), "lost").get_state()


def test_this_host_is_known() -> None:
    assert is_this_host("127.0.0.1")
    assert is_this_host("localhost")
    assert not is_this_host("192.0.2.1")  # RFC 5737: nobody's
    assert not is_this_host("no.such.host.invalid")
