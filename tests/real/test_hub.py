"""A hub and hosts' places at it over real sockets that break, stall and come back."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from procession._hub.listening import listen, open_hub
from procession._hub.meeting import HubMeeting
from procession._hub.server import Hub
from procession._hub.state import HubState
from procession._membership.machine import CutOff, Seen
from procession._membership.model import Account, Fate, Member, Roll, Round, View
from procession._store.endpoint import Endpoint
from procession.errors import UsageError

pytestmark = pytest.mark.timeout(100)


class Wire:
    """Carries bytes between a host and the hub, until it is told to break or to stall."""

    def __init__(self, to: Endpoint) -> None:
        self.to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.place = Endpoint("127.0.0.1", self._listener.getsockname()[1])
        self._flows = threading.Event()
        self._flows.set()
        self._socks: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.taken = 0  # connections
        self._begin(self._accept)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._flows.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.break_off()
        for thread in self._threads:
            thread.join()
        for sock in self._socks:
            sock.close()

    def _begin(self, deed: Callable[..., None], *args: socket.socket) -> None:
        self._threads.append(threading.Thread(target=deed, args=args, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._socks.append(near)
                far = socket.create_connection(self.to)
                self._socks.append(far)
                self.taken += 1
                self._begin(self._carry, near, far)
                self._begin(self._carry, far, near)

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                self._flows.wait()
                other.sendall(data)
        for sock in (one, other):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def break_off(self) -> None:
        for sock in list(self._socks):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def stall(self) -> None:
        self._flows.clear()


@pytest.fixture
def make_hub() -> Iterator[Callable[..., tuple[Hub, Endpoint]]]:
    """Start a hub of two hosts; it is the first one's."""
    hubs: list[Hub] = []

    def make(life: str = "life", host: str = "127.0.0.1") -> tuple[Hub, Endpoint]:
        hub = open_hub(HubState(life, "run", "2", "h1-1"), Endpoint(host, 0), lends=False)
        hub.start()
        hubs.append(hub)
        return hub, Endpoint(host, hub._listener.getsockname()[1])

    yield make
    for hub in hubs:
        if hub.is_alive():
            hub.close("the test is over")


@pytest.fixture
def join() -> Iterator[Callable[..., HubMeeting]]:
    """Have a host join a hub."""
    meetings: list[HubMeeting] = []

    def begin(place: Endpoint, number: int, ttl: float = 30, nnodes: str = "2") -> HubMeeting:
        member = Member(f"h{number}-1", f"h{number}", 0)
        meeting = HubMeeting(place, "run", nnodes, member, ttl, time.time_ns, leads=number == 1)
        meetings.append(meeting)
        meeting.join()
        return meeting

    yield begin
    for meeting in meetings:
        meeting.close()


def until(
    meeting: HubMeeting, is_it: Callable[[Seen | CutOff | Roll], bool]
) -> Seen | CutOff | Roll:
    """Wait for news of that kind."""
    deadline = time.monotonic() + 30
    while (left := deadline - time.monotonic()) > 0:
        select.select([meeting], [], [], left)
        for news in meeting.news():
            if is_it(news):
                return news
    raise TimeoutError(meeting.trouble)


def view(meeting: HubMeeting, is_it: Callable[[View], bool]) -> View:
    """Wait for a view of that kind."""
    found = until(meeting, lambda news: isinstance(news, Seen) and is_it(news.view))
    assert isinstance(found, Seen)
    return found.view


def test_a_broken_connection_is_made_again_and_nothing_is_lost_or_done_twice(
    make_hub: Callable[..., tuple[Hub, Endpoint]], join: Callable[..., HubMeeting]
) -> None:
    hub, place = make_hub()
    with Wire(place) as wire:
        first = join(place, 1)
        second = join(wire.place, 2)
        members = view(first, lambda seen: len(seen.members) == 2).members
        first.propose(Round(0, members), 0)
        view(second, lambda seen: seen.round is not None)
        wire.break_off()
        second.tell(0, Fate.FAILING, 0, Account())
        wire.break_off()
        second.tell(0, Fate.FAILED, 0, Account(7))
        found = view(first, lambda seen: seen.fate("h2-1") is Fate.FAILED)
        assert [outcome.account.status for outcome in found.outcomes] == [7]
        assert found.called_off
        assert wire.taken > 1
        assert second.is_good
        assert len(hub.hosts) == 2


def test_a_hub_that_is_silent_is_lost_in_time(
    make_hub: Callable[..., tuple[Hub, Endpoint]], join: Callable[..., HubMeeting]
) -> None:
    _hub, place = make_hub()
    with Wire(place) as wire:
        first = join(place, 1)
        second = join(wire.place, 2, ttl=5)
        view(first, lambda seen: len(seen.members) == 2)
        view(second, lambda seen: seen.is_there("h2-1"))
        wire.stall()
        lost = until(second, lambda news: isinstance(news, CutOff))
        assert isinstance(lost, CutOff)
        assert f"{wire.place} has not answered for 3.5 s: " in lost.reason
        assert not second.is_good
        view(first, lambda seen: len(seen.members) == 1)


def test_another_hub_in_its_place_is_not_taken_for_it(
    make_hub: Callable[..., tuple[Hub, Endpoint]], join: Callable[..., HubMeeting]
) -> None:
    _hub, place = make_hub()
    with Wire(place) as wire:
        second = join(wire.place, 2)
        view(second, lambda seen: seen.is_there("h2-1"))
        _, wire.to = make_hub("another life")
        wire.break_off()
        lost = until(second, lambda news: isinstance(news, CutOff))
        assert isinstance(lost, CutOff)
        assert "has been started anew" in lost.reason


def test_the_end_of_the_hub_is_told(
    make_hub: Callable[..., tuple[Hub, Endpoint]], join: Callable[..., HubMeeting]
) -> None:
    hub, place = make_hub()
    second = join(place, 2)
    view(second, lambda seen: seen.is_there("h2-1"))
    hub.close("h1, at which the hosts meet, has ended")
    assert until(second, lambda news: isinstance(news, CutOff)) == CutOff(
        "h1, at which the hosts meet, has ended"
    )


def test_a_roll_call(
    make_hub: Callable[..., tuple[Hub, Endpoint]], join: Callable[..., HubMeeting]
) -> None:
    _, place = make_hub()
    first, second = join(place, 1), join(place, 2)
    view(first, lambda seen: len(seen.members) == 2)
    view(second, lambda seen: seen.is_there("h2-1"))
    second.call_roll()
    roll = until(second, lambda news: isinstance(news, Roll))
    assert isinstance(roll, Roll)
    assert (roll.total, {member.host for member in roll.members}) == (2, {"h1", "h2"})


def test_over_ipv6(
    make_hub: Callable[..., tuple[Hub, Endpoint]], join: Callable[..., HubMeeting]
) -> None:
    _, place = make_hub(host="::1")
    first, second = join(place, 1), join(place, 2)
    view(first, lambda seen: len(seen.members) == 2)
    view(second, lambda seen: seen.is_there("h2-1"))


def test_who_is_refused_hears_why(
    make_hub: Callable[..., tuple[Hub, Endpoint]], join: Callable[..., HubMeeting]
) -> None:
    _, place = make_hub()
    other = join(place, 3, nnodes="3")
    with pytest.raises(UsageError, match="was started with --nnodes 2, not 3"):
        until(other, lambda news: isinstance(news, Seen))


def test_strangers_at_the_hub_do_no_harm(
    make_hub: Callable[..., tuple[Hub, Endpoint]], join: Callable[..., HubMeeting]
) -> None:
    hub, place = make_hub()
    for said in (b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\2{}", b"\0\0\0\2[]", b"", b"\xff" * 100_000):
        with socket.create_connection(place) as stranger:
            with suppress(OSError):  # it may hang up before it has heard all
                stranger.sendall(said)
                stranger.shutdown(socket.SHUT_WR)
            while True:
                try:
                    if not stranger.recv(4096):
                        break
                except ConnectionResetError:
                    break
    first = join(place, 1)
    view(first, lambda seen: seen.is_there("h1-1"))
    assert hub.is_alive()


@pytest.mark.parametrize(
    ("host", "addresses"), [("gpu1", {"::", "0.0.0.0"}), ("127.0.1.1", {"127.0.1.1"})]
)
def test_a_name_that_is_loopback_here_alone_is_listened_for_everywhere(
    host: str, addresses: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET, ("127.0.1.1", 0))]  # as Debian's /etc/hosts has it
    monkeypatch.setattr("procession._hub.listening.addresses", lambda _host, _port: found)
    with listen(host, 0) as sock:
        assert sock.getsockname()[0] in addresses
