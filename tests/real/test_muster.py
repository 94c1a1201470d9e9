"""Hosts come together before workers start: real sockets on addresses of loopback."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from procession._agent.muster import Door, Muster, greeting, targets
from procession._hub.listening import listen
from procession._membership.model import Member, Round


@pytest.mark.parametrize(
    ("rank", "hosts", "expected"),
    [
        (0, 1, []),
        (0, 2, [1]),
        (1, 2, []),
        (0, 4, [1, 2]),
        (3, 4, [1]),
        (5, 8, [6, 7, 1]),
        (999, 1000, [0, 1, 3, 7, 15, 31, 63, 127, 255, 511]),
    ],
)
def test_whom_a_host_tries(rank: int, hosts: int, expected: list[int]) -> None:
    assert targets(rank, hosts) == sorted(set(expected) - {0})


def test_every_host_is_tried_by_another() -> None:
    for hosts in range(2, 70):
        tried = {other for rank in range(hosts) for other in targets(rank, hosts)}
        assert tried | {0} == set(range(hosts))


class Hosts:
    """Three hosts with a door each."""

    def __init__(self) -> None:
        self.doors = [Door(listen(f"127.0.0.{n}", 0)) for n in (1, 2, 3)]
        for door in self.doors:
            door.start()
        seats = [
            Member(f"h{n}-1", f"h{n}", n, address=f"127.0.0.{n}", door=door.port)
            for n, door in zip((1, 2, 3), self.doors, strict=True)
        ]
        self.now = Round(4, tuple(seats))
        self.musters: list[Muster] = []

    def begin(self, rank: int) -> Muster:
        if rank == 0:
            self.doors[0].expect(greeting(self.now), 3)
        self.musters.append(Muster(self.now, rank, 1))
        self.musters[-1].start()
        return self.musters[-1]

    def close(self) -> None:
        for muster in self.musters:
            muster.close()
            muster.join()
        for door in self.doors:
            door.close()


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    made = Hosts()
    yield made
    made.close()


def is_over(muster: Muster, seconds: float = 20) -> bool:
    return bool(select.select([muster], [], [], seconds)[0]) and muster.is_over


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_all_go_on_once_all_are_there(hosts: Hosts, order: tuple[int, int, int]) -> None:
    first, second = hosts.begin(order[0]), hosts.begin(order[1])
    assert not is_over(first, 0.2)
    third = hosts.begin(order[2])
    assert all(is_over(muster) for muster in (first, second, third))
    assert {muster.problem for muster in hosts.musters} == {""}


def test_the_pair_that_cannot_connect_is_named(hosts: Hosts) -> None:
    hosts.doors.pop().close()
    port = hosts.now.seats[2].door
    muster = hosts.begin(1)
    assert is_over(muster)
    assert muster.problem == (
        f"h2 (127.0.0.2) cannot connect to h3 (127.0.0.3:{port}): Connection refused. Workers need that "
        "at any port: is there a firewall between them, or is the address wrong? --local-addr on h3 gives "
        "another."
    )


def test_a_door_that_opens_late_is_waited_for(hosts: Hosts) -> None:
    """Its host has lost its connections, or comes anew: who is lost the store says, not a refused connection."""
    where = hosts.doors[2].port
    hosts.doors.pop().close()
    musters = [hosts.begin(rank) for rank in (0, 1)]
    assert not is_over(musters[1], 0.5)
    hosts.doors.append(Door(listen("127.0.0.3", where)))
    hosts.doors[2].start()
    hosts.begin(2)
    assert all(is_over(muster) for muster in hosts.musters)
    assert {muster.problem for muster in hosts.musters} == {""}


def test_who_gives_up_is_not_counted(hosts: Hosts) -> None:
    gone = hosts.begin(2)
    assert not is_over(gone, 0.2)
    hosts.musters.remove(gone)
    gone.close()
    gone.join(20)
    assert not gone.is_alive()
    first, second = hosts.begin(0), hosts.begin(1)
    assert not is_over(first, 0.3)
    assert is_over(hosts.begin(2))
    assert is_over(first)
    assert is_over(second)


def test_strangers_at_a_door_do_no_harm(hosts: Hosts) -> None:
    where = (hosts.now.seats[0].address, hosts.now.seats[0].door)
    with socket.create_connection(where) as wrong, socket.create_connection(where) as long:
        wrong.sendall(b"h1-1 3\n")  # of another round
        long.sendall(b"x" * 2000)
        musters = [hosts.begin(rank) for rank in (0, 1)]
        assert not is_over(musters[0], 0.3)
        hosts.begin(2)
        assert all(is_over(muster) for muster in hosts.musters)
