"""Hosts in network namespaces of which two cannot reach each other, or the first by its address alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.real.etcd.net import Net

import procession

pytestmark = [
    pytest.mark.program("ip", "iproute2"),
    pytest.mark.program("iptables-legacy", "iptables"),
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.timeout(150),
]

TELL = """
import os
with open("told", "a") as file:
    file.write(f"{os.environ['RANK']} {os.environ['MASTER_ADDR']}\\n")
"""


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    """Namespaces without an etcd."""
    with Net(tmp_path, members=0) as made:
        (tmp_path / "s.py").write_text(TELL)
        yield made


def host(net: Net, number: int, *words: str) -> subprocess.Popen[str]:
    """Start the command on a host; the first has the hub."""
    environ = os.environ | {"PYTHONPATH": str(Path(procession.__file__).parents[1])}
    place = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{net.subnet}.1:29400")
    argv = (sys.executable, "-m", "procession", "run", "--nnodes", "3", *place, *words, "s.py")
    return net.start(number, *argv, env=environ)


def test_a_pair_that_cannot_connect_is_named_before_workers_start(net: Net) -> None:
    net.cut_from(2, [3])
    pair = [
        rf"h{a} \({net.subnet}\.{a}\) cannot connect to h{b} \({net.subnet}\.{b}:\d+\): timed out"
        for a, b in ((2, 3), (3, 2))  # whichever was first to give up
    ]
    hosts = [host(net, number) for number in (1, 2, 3)]
    for process in hosts:
        _, text = process.communicate(timeout=60)
        assert process.returncode == 69, text
        assert "the run has failed: workers could not be started on h" in text
        assert text.count("could not be started") == 1, text
        assert any(re.search(words, text) for words in pair), text
    assert (net.directory / "told").read_text() == ""


def test_each_host_is_known_by_the_address_of_its_way(net: Net) -> None:
    hosts = [host(net, number) for number in (1, 2, 3)]
    for process in hosts:
        _, text = process.communicate(timeout=60)
        assert process.returncode == 0, text
    first = f"{net.subnet}.1"
    told = sorted((net.directory / "told").read_text().splitlines())
    assert told == [f"0 {first}", f"1 {first}", f"2 {first}"]
