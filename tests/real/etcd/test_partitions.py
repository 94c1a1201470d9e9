"""Three hosts in network namespaces, an etcd in a fourth, and links that are cut without a word."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import procession
from procession._etcd.client import Client
from procession._etcd.settings import read_settings
from procession.testing.waiting import wait_for_text

pytestmark = [
    pytest.mark.program("etcd", "etcd-server"),
    pytest.mark.program("ip", "iproute2"),
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.timeout(150),
]

# One line at the start, then one each 10 ms: when workers of which gang were alive, by the one clock
# that namespaces of one kernel share.
BEAT = """
import json, os, sys, time
seat = {n: os.environ[n] for n in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "TORCHELASTIC_RESTART_COUNT")}
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
def tell(what):
    line = json.dumps({"host": os.uname().nodename, "at": time.monotonic(), "is": what, **seat})
    os.write(fd, (line + chr(10)).encode())
tell(f"begun {seat['TORCHELASTIC_RESTART_COUNT']}/{seat['RANK']}")
while not os.path.exists(sys.argv[1] + ".go"):
    tell("alive")
    time.sleep(0.01)
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Net:
    """A bridge with namespaces on it; all names bear our pid."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.name = f"p{os.getpid()}"
        self.subnet = f"10.77.{os.getpid() % 250 + 1}"
        self.spaces: list[str] = []
        self.processes: list[subprocess.Popen[str]] = []
        ip("link", "add", f"{self.name}b", "type", "bridge")
        ip("addr", "add", f"{self.subnet}.254/24", "dev", f"{self.name}b")
        ip("link", "set", f"{self.name}b", "up")
        self.told = directory / "told"
        self.told.touch()
        (directory / "s.py").write_text(BEAT)

    def space(self, number: int) -> str:
        """Make a namespace with the address of that number."""
        space, link = f"{self.name}n{number}", f"{self.name}v{number}"
        ip("netns", "add", space)
        self.spaces.append(space)
        ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
        ip("link", "set", link, "master", f"{self.name}b", "up")
        ip("-n", space, "addr", "add", f"{self.subnet}.{number}/24", "dev", "eth0")
        ip("-n", space, "link", "set", "eth0", "up")
        ip("-n", space, "link", "set", "lo", "up")
        return space

    def start(self, number: int, *argv: str, **kw: Any) -> subprocess.Popen[str]:
        """Start a program in a namespace, under a host name of its own."""
        inside = ["nsenter", f"--net=/run/netns/{self.name}n{number}", "unshare", "--uts"]
        named = ["sh", "-c", f'hostname h{number}; exec "$@"', "sh", *argv]
        kw = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, **kw}
        process = subprocess.Popen(
            [*inside, *named], stdin=subprocess.DEVNULL, text=True, cwd=self.directory, **kw
        )
        self.processes.append(process)
        return process

    def cut(self, number: int) -> None:
        ip("link", "set", f"{self.name}v{number}", "down")

    def heal(self, number: int) -> None:
        ip("link", "set", f"{self.name}v{number}", "up")

    def host(self, number: int, *words: str) -> subprocess.Popen[str]:
        """Start ``procession run`` on a host."""
        source = str(Path(procession.__file__).parents[1])
        environ = {**os.environ, "PYTHONPATH": source}
        return self.start(
            number,
            *(sys.executable, "-m", "procession", "run", "--nnodes", "2:3", "--max-restarts", "3"),
            *("--rdzv-backend", "etcd", "--rdzv-endpoint", f"{self.subnet}.100:2379"),
            *("--rdzv-id", "job", "--rdzv-conf", "lease=3,last_call_timeout=5", *words),
            *("s.py", str(self.told)),
            env=environ,
        )

    def begun(self, generation: int, size: int) -> dict[int, dict[str, Any]]:
        """The first words of a gang's workers by rank, once all have spoken."""
        for rank in range(size):
            wait_for_text(self.told, f'"begun {generation}/{rank}"', 60)
        lines = [line for line in self.lines() if line["is"].startswith(f"begun {generation}/")]
        return {int(line["RANK"]): line for line in lines}

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.told.read_text().splitlines()]

    def gangs(self) -> list[tuple[int, float, float]]:
        """Of each generation when its first worker was alive, and its last."""
        times: dict[int, list[float]] = {}
        for line in self.lines():
            times.setdefault(int(line["TORCHELASTIC_RESTART_COUNT"]), []).append(line["at"])
        return [(number, min(at), max(at)) for number, at in sorted(times.items())]

    def go(self) -> None:
        (self.directory / "told.go").touch()

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes:
            try:
                process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        for space in self.spaces:
            ip("link", "del", space.replace("n", "v"))  # a namespace goes later than its name
            ip("netns", "del", space)
        ip("link", "del", f"{self.name}b")


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    """Three hosts, and an etcd on a fourth."""
    made = Net(tmp_path)
    try:
        for number in (1, 2, 3, 100):
            made.space(number)
        here = f"http://{made.subnet}.100:2379"
        made.start(
            *(100, "etcd", f"--data-dir={tmp_path}/etcd", f"--listen-client-urls={here}"),
            *(f"--advertise-client-urls={here}", "--logger=zap"),
            f"--log-outputs={tmp_path}/etcd.log",
            stderr=subprocess.DEVNULL,
        )
        wait_for_etcd(f"{made.subnet}.100")
        yield made
    finally:
        made.close()


def wait_for_etcd(host: str) -> None:
    client = Client(read_settings(host, {}, {}))
    until = time.monotonic() + 30
    while True:
        try:
            client.put("/ready", b"")
            break
        except Exception:
            assert time.monotonic() < until, "etcd does not get ready"
            time.sleep(0.02)
    client.close()


def never_two_at_once(net: Net) -> None:
    gangs = net.gangs()
    for (_, _, last), (number, first, _) in itertools.pairwise(gangs):
        assert last < first, f"gang {number} began {last - first:.3f} s before the last one ended"


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, text = process.communicate(timeout=60)
    return process.returncode, text


def test_a_host_is_cut_off_and_comes_back(net: Net) -> None:
    hosts = [net.host(number) for number in (1, 2, 3)]
    first = net.begun(0, 3)
    assert [first[rank]["host"] for rank in range(3)] == ["h1", "h2", "h3"]
    assert {line["MASTER_ADDR"] for line in first.values()} == {f"{net.subnet}.1"}
    cut = time.monotonic()
    net.cut(3)
    rest = net.begun(1, 2)
    assert [rest[rank]["host"] for rank in range(2)] == ["h1", "h2"]
    code, text = ended(hosts[2])
    assert code == 69
    assert "etcd has not answered for 2.1 s" in text
    net.heal(3)
    hosts[2] = net.host(3)
    again = net.begun(2, 3)
    assert [again[rank]["host"] for rank in range(3)] == ["h1", "h2", "h3"]
    net.go()
    assert [ended(host)[0] for host in hosts] == [0, 0, 0]
    never_two_at_once(net)
    fenced = max(
        line["at"]
        for line in net.lines()
        if line["host"] == "h3" and line["TORCHELASTIC_RESTART_COUNT"] == "0"
    )
    back = net.gangs()[1][1]
    assert fenced < back
    print(
        f"cut; workers killed after {fenced - cut:.2f} s, the next gang after {back - cut:.2f} s (lease 3 s)"
    )


def test_the_host_that_leads_is_cut_off(net: Net) -> None:
    hosts = [net.host(1)]
    line = hosts[0].stderr.readline()  # type: ignore[union-attr]
    assert "waiting for 1 of 2 to 3 hosts (have h1)" in line
    hosts += [net.host(number) for number in (2, 3)]
    net.begun(0, 3)
    net.cut(1)
    rest = net.begun(1, 2)
    assert [rest[rank]["host"] for rank in range(2)] == ["h2", "h3"]
    assert rest[0]["MASTER_ADDR"] == f"{net.subnet}.2"
    net.go()
    assert [ended(host)[0] for host in hosts] == [69, 0, 0]
    never_two_at_once(net)


def test_the_store_is_cut_off_from_all(net: Net) -> None:
    hosts = [net.host(number) for number in (1, 2)]
    net.begun(0, 2)
    net.cut(100)
    for host in hosts:
        code, text = ended(host)
        assert code == 69
        assert "etcd has not answered" in text
    assert len(net.gangs()) == 1


def test_a_moment_without_the_store_is_no_failure(net: Net) -> None:
    words = ("--rdzv-conf", "lease=20,last_call_timeout=20")
    hosts = [net.host(number, *words) for number in (1, 2, 3)]
    net.begun(0, 3)
    net.cut(100)
    told = f'"at": {time.monotonic() + 2:.0f}.'  # two seconds without it
    wait_for_text(net.told, told, 20)
    net.heal(100)
    net.go()
    assert {ended(host)[0] for host in hosts} == {0}


def test_an_agent_is_killed_and_its_host_comes_back(net: Net) -> None:
    hosts = [net.host(number) for number in (1, 2, 3)]
    net.begun(0, 3)
    hosts[1].kill()
    hosts[1].communicate()
    hosts[1] = net.host(2)
    net.begun(1, 2)
    last = (
        1
        if len({line["RANK"] for line in net.lines() if line["is"].startswith("begun 1/")}) == 3
        else 2
    )
    again = net.begun(last, 3)
    assert [again[rank]["host"] for rank in range(3)] == ["h1", "h2", "h3"]
    net.go()
    assert [ended(host)[0] for host in hosts] == [0, 0, 0]
    never_two_at_once(net)
