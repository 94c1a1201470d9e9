"""Hosts in network namespaces: cut off, killed, left alone by the store. A sample of tests/stress."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tests.real.etcd.net import Net

pytestmark = [
    pytest.mark.program("etcd", "etcd-server"),
    pytest.mark.program("ip", "iproute2"),
    pytest.mark.program("iptables-legacy", "iptables"),
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.timeout(150),
]


def test_a_host_is_cut_off_and_comes_back(tmp_path: Path) -> None:
    with Net(tmp_path, lease=5) as net:
        net.start_hosts(1, 2, 3, nnodes="2:3")
        first = net.gang_of(1, 2, 3)
        assert net.hosts_of(first) == ["h1", "h2", "h3"]
        cut = net.cut(3)
        rest = net.gang_of(1, 2, after=first)
        code, text = net.ended(3)
        assert code == 69
        assert "etcd has not answered for 3.5 s" in text
        net.heal(3)
        net.start_hosts(3, nnodes="2:3")
        again = net.gang_of(1, 2, 3, after=rest)
        assert net.hosts_of(again) == ["h1", "h2", "h3"]
        net.go()
        assert [net.ended(number)[0] for number in (1, 2, 3)] == [0, 0, 0]
        net.check()
        fenced, back = net.last_moment(first, 3) - cut, net.began(rest) - cut
        print(
            f"cut; workers gone after {fenced:.2f} s, the next gang after {back:.2f} s (lease 5 s)"
        )
        assert fenced < back


def test_the_host_that_leads_is_cut_off_and_another_killed(tmp_path: Path) -> None:
    with Net(tmp_path, lease=5) as net:
        leader = net.host(1, "--nnodes", "2:4")
        assert leader.stderr is not None
        assert "waiting for 1 of 2 to 4 hosts (have h1)" in leader.stderr.readline()
        net.start_hosts(2, 3, 4, nnodes="2:4")
        first = net.gang_of(1, 2, 3, 4)
        net.cut(1)
        net.kill_host(3)
        rest = net.gang_of(2, 4, after=first)
        assert net.hosts_of(rest) == ["h2", "h4"]
        net.go()
        assert [net.ended(number)[0] for number in (1, 2, 4)] == [69, 0, 0]
        net.check()


def test_the_store_is_gone_for_longer_than_a_lease(tmp_path: Path) -> None:
    with Net(tmp_path, lease=5) as net:
        net.start_hosts(1, 2, nnodes="2")
        first = net.gang_of(1, 2)
        cut = net.cut(100)
        for number in (1, 2):
            code, text = net.ended(number)
            assert code == 69
            assert "etcd has not answered" in text
        print(
            f"no store; workers gone after {net.last_moment(first) - cut:.2f} s of a lease of 5 s"
        )
        assert net.left() == []
        net.heal(100)
        net.start_hosts(2, 1, nnodes="2")  # and the run goes on
        again = net.gang_of(1, 2, after=first)
        assert net.hosts_of(again) == ["h1", "h2"]
        net.go()
        assert [net.ended(number)[0] for number in (1, 2)] == [0, 0]
        net.check()


def test_two_seconds_without_the_store_are_no_failure(tmp_path: Path) -> None:
    with Net(tmp_path, lease=10) as net:
        net.start_hosts(1, 2, 3, nnodes="3")
        first = net.gang_of(1, 2, 3)
        net.cut(100)
        time.sleep(2)  # this is what is asked about
        net.heal(100)
        net.go()
        assert [net.ended(number)[0] for number in (1, 2, 3)] == [0, 0, 0]
        assert max(line["gang"] for line in net.lines()) == first
        net.check()


def test_a_member_of_the_store_is_killed_and_a_host_comes(tmp_path: Path) -> None:
    with Net(tmp_path, members=3, lease=10) as net:
        net.start_hosts(1, 2, nnodes="2:3")
        net.host(3, "--nnodes", "2:3", "-n", "2")
        first = net.gang_of(1, 2, 3)
        assert net.hosts_of(first) == ["h1", "h2", "h3", "h3"]
        net.kill_member(100)  # the first endpoint: all speak to it
        net.fail(first, 0)
        again = net.gang_of(1, 2, 3, after=first)
        net.go()
        assert [net.ended(number)[0] for number in (1, 2, 3)] == [0, 0, 0]
        assert net.hosts_of(again) == ["h1", "h2", "h3", "h3"]
        net.check()
