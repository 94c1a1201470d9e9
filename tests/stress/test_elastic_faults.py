"""Elastic gangs and all that befalls hosts, links and the store; after each, what has to hold is looked at.

Three to five hosts in network namespaces, a real etcd of one member or three. ``Net.check`` asserts, from
outside: never workers of two gangs at once (locks of the kernel, held by each worker), ranks a
permutation that all agree on, nothing left.
"""

from __future__ import annotations

import os
import random
import re
import signal
import statistics
import time
from pathlib import Path

import pytest
from tests.real.etcd.net import Net, until
from tests.stress.conftest import SEED

from procession.testing import stop

pytestmark = [
    pytest.mark.stress,
    pytest.mark.program("etcd", "etcd-server"),
    pytest.mark.program("ip", "iproute2"),
    pytest.mark.program("iptables-legacy", "iptables"),
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.timeout(400),
]


def ended_well(net: Net, *numbers: int) -> None:
    net.go()
    ends = {number: net.ended(number) for number in numbers}
    assert {number: code for number, (code, _) in ends.items()} == dict.fromkeys(numbers, 0), ends
    net.check()


def test_hosts_join_leave_and_rejoin(tmp_path: Path) -> None:
    with Net(tmp_path, members=3) as net:
        net.start_hosts(1, 2, nnodes="2:4", conf="last_call_timeout=0")
        gang = net.gang_of(1, 2)
        net.start_hosts(4, nnodes="2:4")
        gang = net.gang_of(1, 2, 4, after=gang)
        net.start_hosts(3, nnodes="2:4")
        gang = net.gang_of(1, 2, 3, 4, after=gang)
        assert net.hosts_of(gang) == ["h1", "h2", "h3", "h4"]
        net.hosts[1].send_signal(signal.SIGTERM)  # the leader
        assert net.ended(1)[0] == 143
        gang = net.gang_of(2, 3, 4, after=gang)
        net.start_hosts(1, nnodes="2:4")
        net.gang_of(1, 2, 3, 4, after=gang)
        ended_well(net, 1, 2, 3, 4)


def test_no_more_than_most_and_no_fewer_than_least(tmp_path: Path) -> None:
    with Net(tmp_path) as net:
        net.start_hosts(1, 2, 3, nnodes="2:3")
        gang = net.gang_of(1, 2, 3)
        net.start_hosts(4, nnodes="2:3")  # there is no place for it
        net.kill_host(2)
        gang = net.gang_of(1, 3, 4, after=gang)
        for number in (1, 3):
            net.hosts[number].send_signal(signal.SIGTERM)
            assert net.ended(number)[0] == 143
        net.start_hosts(5, nnodes="2:3")  # with the one that is left there are two again
        net.gang_of(4, 5, after=gang)
        ended_well(net, 4, 5)


def test_the_budget_is_for_lost_hosts_and_failures_together(tmp_path: Path) -> None:
    with Net(tmp_path) as net:
        for number in (1, 2, 3):
            net.host(number, "--nnodes", "1:3", "--max-restarts", "2")
        gang = net.gang_of(1, 2, 3)
        net.kill_host(2)
        gang = net.gang_of(1, 3, after=gang)
        net.fail(gang, 1)
        gang = net.gang_of(1, 3, after=gang)
        net.fail(gang, 0)
        ends = [net.ended(number) for number in (1, 3)]
        assert [code for code, _ in ends] == [7, 7]
        assert all("the run has failed: workers failed on h1" in text for _, text in ends)
        net.check()


@pytest.mark.parametrize("member", [100, 101, 102])
def test_a_member_of_the_store_is_killed_and_comes_back(tmp_path: Path, member: int) -> None:
    with Net(tmp_path, members=3, lease=5) as net:
        net.start_hosts(1, 2, 3, nnodes="2:3")
        gang = net.gang_of(1, 2, 3)
        net.kill_member(member)
        net.fail(gang, 1)
        gang = net.gang_of(1, 2, 3, after=gang)
        net.start_member(member)
        net.wait_for_etcd()
        net.fail(gang, 2)
        net.gang_of(1, 2, 3, after=gang)
        ended_well(net, 1, 2, 3)


def test_a_member_of_the_store_is_cut_off_from_the_others(tmp_path: Path) -> None:
    """It still speaks to hosts, and would keep their watches open and say nothing."""
    with Net(tmp_path, members=3, lease=6) as net:
        net.start_hosts(1, 2, 3, nnodes="2:3")
        gang = net.gang_of(1, 2, 3)
        net.cut_from(100, (101, 102))
        net.fail(gang, 1)
        gang = net.gang_of(1, 2, 3, after=gang)
        net.heal(100)
        ended_well(net, 1, 2, 3)


def test_a_host_reaches_one_member_only(tmp_path: Path) -> None:
    with Net(tmp_path, members=3, lease=5) as net:
        net.start_hosts(1, 2, nnodes="2")
        gang = net.gang_of(1, 2)
        net.cut_from(2, (100, 101))
        net.fail(gang, 0)
        net.gang_of(1, 2, after=gang)
        ended_well(net, 1, 2)


def test_hosts_that_see_only_the_store_and_not_each_other(tmp_path: Path) -> None:
    """Agents speak over the store alone; that workers could not is said before the next ones start."""
    with Net(tmp_path) as net:
        net.start_hosts(1, 2, nnodes="2")
        gang = net.gang_of(1, 2)
        net.cut_from(2, [1])
        net.fail(gang, 1)
        for number in (1, 2):
            code, text = net.ended(number)
            assert code == 69, text
            assert re.search(r"h(1 .*cannot connect to h2|2 .*cannot connect to h1) ", text), text
        assert {line["gang"] for line in net.lines()} == {gang}
        net.check()


def test_a_minute_without_the_store(tmp_path: Path) -> None:
    """A lease that is longer outlives it; a shorter one does not, and the run begins anew."""
    with Net(tmp_path, lease=120) as net:
        net.start_hosts(1, 2, nnodes="2", conf="lease=120")
        gang = net.gang_of(1, 2)
        net.start_hosts(3, nnodes="2", conf="lease=5,join_timeout=300")  # it waits
        cut = net.cut(100)
        assert net.ended(3)[0] == 69
        time.sleep(max(cut + 60 - time.monotonic(), 0))
        net.heal(100)
        net.wait_for_etcd()
        net.fail(gang, 0)  # they still hear each other
        net.gang_of(1, 2, after=gang)
        ended_well(net, 1, 2)


def test_the_store_restarts_within_a_lease(tmp_path: Path) -> None:
    with Net(tmp_path, lease=10) as net:
        net.start_hosts(1, 2, 3, nnodes="3")
        gang = net.gang_of(1, 2, 3)
        net.kill_member(100)
        time.sleep(2)
        net.start_member(100)
        net.wait_for_etcd()
        net.fail(gang, 2)
        net.gang_of(1, 2, 3, after=gang)
        ended_well(net, 1, 2, 3)


def test_a_slow_host_is_not_a_lost_one(tmp_path: Path) -> None:
    """Its agent gets a tenth of the time; then none at all, for longer than its lease."""
    with Net(tmp_path, lease=3) as net:
        net.start_hosts(1, 2, 3, nnodes="2:3")
        gang = net.gang_of(1, 2, 3)
        agent = net.hosts[2]
        deadline = time.monotonic() + 9
        while time.monotonic() < deadline:
            stop(agent.pid)
            time.sleep(0.45)
            agent.send_signal(signal.SIGCONT)
            time.sleep(0.05)
        net.fail(gang, 0)
        gang = net.gang_of(1, 2, 3, after=gang)  # all three of them
        stopped = net.stop_host(2)
        net.gang_of(1, 3, after=gang)
        print(f"agent stopped; workers gone after {net.last_moment(gang, 2) - stopped:.2f} s")
        agent.send_signal(signal.SIGCONT)
        assert net.ended(2)[0] == 69
        ended_well(net, 1, 3)


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_packets_are_lost(tmp_path: Path, share: float) -> None:
    """Whether a host gets through in time or is fenced: nothing that has to hold is broken."""
    with Net(tmp_path, lease=5) as net:
        for number in (1, 2, 3):
            net.host(number, "--nnodes", "2:3", "--max-restarts", "9")
        gang = net.gang_of(1, 2, 3)
        net.lose(3, share)
        for _ in range(4):
            net.fail(gang, 0)
            deadline = time.monotonic() + 3
            while time.monotonic() < deadline and net.hosts[3].poll() is None:
                time.sleep(0.1)
            gang = max(line["gang"] for line in net.lines())
        net.heal(3)
        net.go()
        ends = [net.ended(number)[0] for number in (1, 2, 3)]
        print(f"{share:.0%} lost: exit statuses {ends}, {gang + 1} gangs")
        assert ends in ([0, 0, 0], [0, 0, 69])
        net.check()


FAULTS = ("kill 1", "kill 2", "cut 1", "cut 3", "stop 2", "fail 0", "member", "leave 3")


@pytest.mark.parametrize("first", FAULTS)
@pytest.mark.parametrize("second", ["kill 4", "cut 4", "fail 3"])
def test_two_faults_at_once(tmp_path: Path, first: str, second: str) -> None:
    with Net(tmp_path, members=3) as net:
        net.start_hosts(1, 2, 3, 4, nnodes="2:4")
        gang = net.gang_of(1, 2, 3, 4)
        gone = [fault(net, gang, what) for what in (first, second)]
        rest = [number for number in (1, 2, 3, 4) if number not in gone]
        net.gang_of(*rest, after=gang)
        if "stop 2" in first:
            net.hosts[2].send_signal(signal.SIGCONT)
        for number in filter(None, gone):
            net.ended(number)
        ended_well(net, *rest)


def fault(net: Net, gang: int, what: str) -> int:
    """Do it; return the host that is gone by it, 0 for none."""
    kind, _, number = what.partition(" ")
    if kind == "fail":
        net.fail(gang, int(number))
    elif kind == "member":
        net.kill_member(101)
    else:
        harm_host(net, kind, int(number))
        return int(number)
    return 0


def harm_host(net: Net, kind: str, number: int) -> None:
    if kind == "kill":
        net.hosts[number].kill()
    elif kind == "cut":
        net.cut(number)
    elif kind == "stop":
        net.stop_host(number)
    else:
        net.hosts[number].send_signal(signal.SIGTERM)


@pytest.mark.parametrize("lease", [2, 5])
def test_a_host_that_is_cut_off_fences_itself(tmp_path: Path, lease: int) -> None:
    fenced, back = [], []
    with Net(tmp_path, lease=lease) as net:
        net.start_hosts(1, 2, 3, nnodes="2:3", conf="last_call_timeout=5")
        gang = net.gang_of(1, 2, 3)
        for number in (3, 2, 1, 3, 2, 1):
            cut = net.cut(number)
            rest = [each for each in (1, 2, 3) if each != number]
            following = net.gang_of(*rest, after=gang)
            assert net.ended(number)[0] == 69
            fenced.append(net.last_moment(gang, number) - cut)
            back.append(net.began(following) - cut)
            net.heal(number)
            net.host(number, "--nnodes", "2:3", "--max-restarts", "9")
            gang = net.gang_of(1, 2, 3, after=following)
            if number == 1:
                break
        print(
            f"lease {lease} s; from the cut to the last worker gone: {min(fenced):.2f} to "
            f"{max(fenced):.2f} s; to the next gang's first worker: median {statistics.median(back):.2f} s"
        )
        assert all(gone < began for gone, began in zip(fenced, back, strict=True))
        ended_well(net, 1, 2, 3)


@pytest.mark.parametrize(("members", "draw"), [(3, 0), (3, 1), (3, 2), (0, 3), (0, 4)])
def test_faults_drawn_by_lot(tmp_path: Path, members: int, draw: int) -> None:
    """A minute of whatever happens to four hosts and three members; then all is healed, and ends well.

    Without members the first host has the hub, and is left alone.
    """
    lot = random.Random(f"{SEED}-{draw}")
    with Net(tmp_path, members) as net:
        for number in (1, 2, 3, 4):
            start_again(net, number)
        net.gang_of(1, 2, 3, 4)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            something(net, lot)
            time.sleep(lot.choice((0.0, 0.1, 0.5, 2.0, 4.0)))
        for number in (1, 2, 3, 4):
            mend_host(net, number)
        for number in net.etcd:
            net.heal(number)
        until(lambda: all_are_back(net), "four hosts that are whole form no gang")
        ended_well(net, 1, 2, 3, 4)


def all_are_back(net: Net) -> int | None:
    """The gang of all hosts; who had been stopped for too long, and ends now, is started again."""
    for number in (1, 2, 3, 4):
        if net.hosts[number].poll() is not None:
            mend_host(net, number)
    return net.has_gang_of(1, 2, 3, 4)


def something(net: Net, lot: random.Random) -> None:
    what, number = (
        lot.choice(("kill", "cut", "stop", "leave", "fail", "member", "mend", "mend", "mend")),
        lot.randint(1 if net.etcd else 2, 4),
    )
    print(what, number)
    if what == "mend":
        mend_host(net, number)
    elif what == "fail" or (what == "member" and not net.etcd):
        net.fail(max(line["gang"] for line in net.lines()), 0)
    elif what == "member":
        member = 100 + number % 3
        net.kill_member(member)
        net.start_member(member)
    elif net.hosts[number].poll() is None:
        harm_host(net, what, number)


def mend_host(net: Net, number: int) -> None:
    """Heal its link, and continue its agent; start it again if that has ended."""
    net.heal(number)
    if net.hosts[number].poll() is None:
        net.hosts[number].send_signal(signal.SIGCONT)
    else:
        net.hosts[number].communicate()
        start_again(net, number)


def start_again(net: Net, number: int) -> None:
    """Start an agent whose workers, on two of the hosts, have to be killed at the end of their grace."""
    words = ("--nnodes", "1:4", "--max-restarts", "99", "--shutdown-timeout", "4")
    conf = "last_call_timeout=1"
    net.host(number, *words, conf=conf, environ={"STUBBORN": "1"} if number > 2 else {})


@pytest.mark.parametrize("draw", [5, 6])
def test_faults_drawn_by_lot_in_the_library(tmp_path: Path, draw: int) -> None:
    """Likewise, to agents of ``elastic_launch``: no worker runs beside another gang, and none is left."""
    lot = random.Random(f"{SEED}-{draw}")
    with Net(tmp_path, lease=3) as net:
        for number in (1, 2, 3, 4):
            net.library_host(number, stubborn=number > 2)
        until(lambda: is_whole(net), "no gang of four hosts")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            what, number = (
                lot.choice(("kill", "cut", "stop", "leave", *["mend"] * 3)),
                lot.randint(1, 4),
            )
            print(what, number)
            if what == "mend":
                mend_library_host(net, number)
            elif net.hosts[number].poll() is None:
                harm_host(net, what, number)
            time.sleep(lot.choice((0.0, 0.1, 0.5, 2.0, 4.0)))
        until(lambda: is_whole(net), "four hosts that are whole form no gang")
        net.go()
        assert [net.ended(number)[0] for number in (1, 2, 3, 4)] == [0] * 4
        assert [line for line in net.lines() if line["is"].startswith("wrong")] == []
        assert net.left() == []


def is_whole(net: Net) -> int | None:
    """The newest gang if it is of all hosts, which are mended."""
    for number in (1, 2, 3, 4):
        mend_library_host(net, number)
    lines = net.lines()
    newest = lines[-1]["gang"] if lines else None
    here = {line["host"] for line in lines if line["gang"] == newest}
    return newest if here == {"h1", "h2", "h3", "h4"} else None


def mend_library_host(net: Net, number: int) -> None:
    net.heal(number)
    if net.hosts[number].poll() is None:
        net.hosts[number].send_signal(signal.SIGCONT)
    else:
        net.hosts[number].communicate()
        net.library_host(number, stubborn=number > 2)
