"""Hosts in network namespaces around an etcd of one member or three; links that are cut without a word."""

from __future__ import annotations

import itertools
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import procession
from procession._etcd.client import Client
from procession._etcd.settings import read_settings
from procession.errors import RendezvousConnectionError
from procession.testing import stop

WITNESS = Path(__file__).parents[1] / "scripts" / "witness.py"
MARK = "PROCESSION_TEST_NET"
PATIENCE = 60  # seconds
NOTHING: Mapping[str, str] = MappingProxyType({})

T = TypeVar("T")


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


class Net:
    """A bridge with namespaces on it; names and addresses are made of our pid, so that nobody has them.

    Args:
        directory: Where hosts work, and where their workers tell of themselves.
        members: Of etcd; they live at addresses 100 and up. Without any, hosts meet at the first one's hub.
        lease: Seconds after which a host is lost.
    """

    def __init__(self, directory: Path, members: int = 1, lease: float = 3) -> None:
        self.directory, self.lease = directory, lease
        pid = os.getpid()
        self.name = f"p{pid}"
        self.subnet = f"10.{64 + (pid >> 8) % 128}.{pid & 255}"
        self.mark = f"{self.name}-{time.monotonic_ns()}"
        self.spaces: list[int] = []
        self.processes: list[subprocess.Popen[str]] = []
        self.etcd: dict[int, subprocess.Popen[str]] = {}
        self.hosts: dict[int, subprocess.Popen[str]] = {}
        for made in ("gangs", "last"):
            (directory / made).mkdir()
        (directory / "told").touch()
        self._members = [100 + n for n in range(members)]

    def __enter__(self) -> Net:
        try:
            run("ip", "link", "add", f"{self.name}b", "type", "bridge")
            run("ip", "addr", "add", f"{self.subnet}.254/24", "dev", f"{self.name}b")
            run("ip", "link", "set", f"{self.name}b", "up")
            for number in self._members:
                self.start_member(number)
            if self._members:
                self.wait_for_etcd()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what was started, by pid, and take the links away."""
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
        for number in self.spaces:
            subprocess.run(["ip", "link", "del", f"{self.name}v{number}"], check=False)
            subprocess.run(["ip", "netns", "del", f"{self.name}n{number}"], check=False)
        subprocess.run(["ip", "link", "del", f"{self.name}b"], check=False)

    # ---- namespaces

    def space(self, number: int) -> str:
        """The namespace with the address of that number; made if it is not there."""
        space, link = f"{self.name}n{number}", f"{self.name}v{number}"
        if number not in self.spaces:
            run("ip", "netns", "add", space)
            self.spaces.append(number)
            run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
            run("ip", "link", "set", link, "master", f"{self.name}b", "up")
            run("ip", "-n", space, "addr", "add", f"{self.subnet}.{number}/24", "dev", "eth0")
            run("ip", "-n", space, "link", "set", "eth0", "up")
            run("ip", "-n", space, "link", "set", "lo", "up")
        return space

    def start(self, number: int, *argv: str, **kw: Any) -> subprocess.Popen[str]:
        """Start a program in a namespace, under a host name of its own."""
        inside = ["nsenter", f"--net=/run/netns/{self.space(number)}", "unshare", "--uts"]
        named = ["sh", "-c", f'hostname h{number}; exec "$@"', "sh", *argv]
        kw = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, **kw}
        process = subprocess.Popen(
            [*inside, *named], stdin=subprocess.DEVNULL, text=True, cwd=self.directory, **kw
        )
        self.processes.append(process)
        return process

    def filter(self, number: int, *rule: str) -> None:
        """Add a rule for what comes into a namespace and what goes out of it."""
        for chain in ("INPUT", "OUTPUT"):
            where = (
                "ip",
                "netns",
                "exec",
                self.space(number),
                "iptables-legacy",
                "-w",
                "-A",
                chain,
            )
            run(*where, *rule, "-j", "DROP")

    def cut(self, number: int) -> float:
        """Drop all that a host sends and gets, without a word to either side; return when."""
        self.filter(number)
        return time.monotonic()

    def cut_from(self, number: int, others: Iterable[int]) -> None:
        """Drop what goes between a host and some others."""
        for other in others:
            for chain, way in (("INPUT", "-s"), ("OUTPUT", "-d")):
                where = ("ip", "netns", "exec", self.space(number), "iptables-legacy", "-w")
                run(*where, "-A", chain, way, f"{self.subnet}.{other}", "-j", "DROP")

    def lose(self, number: int, share: float) -> None:
        """Drop a share of a host's packets, at random."""
        self.filter(number, "-m", "statistic", "--mode", "random", "--probability", str(share))

    def heal(self, number: int) -> None:
        """Let all through again."""
        run("ip", "netns", "exec", self.space(number), "iptables-legacy", "-w", "-F")

    # ---- etcd

    def start_member(self, number: int) -> None:
        """Start a member of etcd, or start it again with what it knows."""
        here, peer = (f"http://{self.subnet}.{number}:{port}" for port in (2379, 2380))
        words = {
            "name": f"m{number}",
            "data-dir": self.directory / f"etcd{number}",
            "listen-client-urls": here,
            "advertise-client-urls": here,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": ",".join(
                f"m{n}=http://{self.subnet}.{n}:2380" for n in self._members
            ),
            "heartbeat-interval": 50,
            "election-timeout": 500,
            "logger": "zap",
            "log-outputs": self.directory / f"etcd{number}.log",
        }
        argv = ["etcd", *(f"--{key}={value}" for key, value in words.items())]
        self.etcd[number] = self.start(number, *argv, stderr=subprocess.DEVNULL)

    def kill_member(self, number: int) -> None:
        """Kill a member of etcd."""
        self.etcd[number].kill()
        self.etcd[number].wait()

    @property
    def endpoint(self) -> str:
        if not self._members:
            return f"{self.subnet}.1:29400"
        return ";".join(f"{self.subnet}.{number}:2379" for number in self._members)

    def wait_for_etcd(self) -> None:
        """Wait until it takes a write."""
        client, until = Client(read_settings(self.endpoint, {}, {})), time.monotonic() + PATIENCE
        try:
            while True:
                try:
                    return client.put("/ready", b"")
                except RendezvousConnectionError:
                    assert time.monotonic() < until, "etcd does not get ready"
                    threading.Event().wait(0.02)
        finally:
            client.close()

    # ---- hosts

    def host(
        self, number: int, *words: str, conf: str = "", environ: Mapping[str, str] = NOTHING
    ) -> subprocess.Popen[str]:
        """Start ``procession run`` on a host."""
        source = str(Path(procession.__file__).parents[1])
        environ = {**os.environ, "PYTHONPATH": source, MARK: self.mark, **environ}
        known = f"lease={self.lease:g},last_call_timeout=20"
        self.hosts[number] = self.start(
            number,
            *(sys.executable, "-m", "procession", "run", "--max-restarts", "3"),
            *("--rdzv-backend", "etcd" if self._members else "c10d"),
            *("--rdzv-endpoint", self.endpoint, "--rdzv-id", "job"),
            *("--rdzv-conf", f"{known},{conf}" if conf else known),
            *words,
            *(str(WITNESS), str(self.directory)),
            env=environ,
        )
        return self.hosts[number]

    def library_host(self, number: int, *, stubborn: bool = False) -> subprocess.Popen[str]:
        """Start an ``elastic_launch`` on a host."""
        environ = {"PYTHONPATH": str(Path(procession.__file__).parents[1]), MARK: self.mark}
        self.hosts[number] = self.start(
            number,
            *(sys.executable, str(WITNESS.with_name("elastic_witness.py"))),
            *(self.endpoint, str(self.directory)),
            env={**os.environ, **environ, **({"STUBBORN": "1"} if stubborn else {})},
        )
        return self.hosts[number]

    def start_hosts(self, *numbers: int, nnodes: str, **kw: Any) -> None:
        """Start some hosts."""
        for number in numbers:
            self.host(number, "--nnodes", nnodes, **kw)

    def kill_host(self, number: int) -> float:
        """Kill a host's agent; return when."""
        self.hosts[number].kill()
        killed = time.monotonic()
        self.hosts[number].communicate()
        return killed

    def stop_host(self, number: int) -> float:
        """Stop a host's agent (SIGSTOP); return when."""
        stop(self.hosts[number].pid)
        return time.monotonic()

    def ended(self, number: int) -> tuple[int, str]:
        """Exit status and messages of a host's agent."""
        _, text = self.hosts[number].communicate(timeout=PATIENCE)
        return self.hosts[number].returncode, text

    def go(self) -> None:
        """Have all workers end well, now and later."""
        (self.directory / "go").touch()

    def fail(self, gang: int, rank: int) -> float:
        """Have a worker fail with status 7; return when."""
        (self.directory / f"fail-{gang}-{rank}").touch()
        return time.monotonic()

    # ---- what workers have told

    def lines(self) -> list[dict[str, Any]]:
        text = (self.directory / "told").read_text()
        whole = text[: text.rfind("\n") + 1]  # somebody may just be writing
        return [json.loads(line) for line in whole.splitlines()]

    def gang_of(self, *numbers: int, after: int = -1) -> int:
        """Wait for a gang of just these hosts, all of whose workers have begun; return its number."""
        return until(lambda: self.has_gang_of(*numbers, after=after), f"no gang of {numbers}")

    def has_gang_of(self, *numbers: int, after: int = -1) -> int | None:
        """The number of such a gang, if it is there now."""
        expected = {f"h{number}" for number in numbers}
        gangs: dict[int, list[dict[str, Any]]] = {}
        lines = self.lines()
        assert [line for line in lines if line["is"].startswith("wrong")] == []
        for line in lines:
            gangs.setdefault(line["gang"], []).append(line)
        newest = max(gangs, default=-1)
        here = gangs.get(newest, [])
        whole = bool(here) and len(here) == int(here[0]["WORLD_SIZE"])
        found = whole and newest > after and {line["host"] for line in here} == expected
        return newest if found else None

    def hosts_of(self, gang: int) -> list[str]:
        """A gang's hosts in the order of ranks."""
        lines = sorted((w for w in self.lines() if w["gang"] == gang), key=lambda w: int(w["RANK"]))
        return [line["host"] for line in lines]

    def began(self, gang: int) -> float:
        """When the first worker of a gang began."""
        return float(min(line["at"] for line in self.lines() if line["gang"] == gang))

    def last_moment(self, gang: int, host: int | None = None) -> float:
        """When the last worker of a gang, or of one host of it, was alive, to 10 ms."""
        ranks = [
            line["RANK"]
            for line in self.lines()
            if line["gang"] == gang and host in (None, int(line["host"][1:]))
        ]
        files = [self.directory / "last" / f"{gang}-{rank}" for rank in ranks]
        return float(max(struct.unpack("d", file.read_bytes())[0] for file in files))

    def check(self) -> None:
        """What holds after every run, seen from outside of it: agents have ended."""
        lines = self.lines()
        assert [line for line in lines if line["is"].startswith("wrong")] == []
        gangs = sorted({line["gang"] for line in lines})
        for before, after in itertools.pairwise(gangs):
            assert self.last_moment(before) < self.began(after), f"{before} lived beside {after}"
        for gang in gangs:
            check_gang([line for line in lines if line["gang"] == gang])
        until(
            lambda: self.left() == [] or None, "something is left of the hosts"
        )  # of one that was killed

    def left(self) -> list[str]:
        """Processes that carry the mark of our hosts."""
        needle = f"{MARK}={self.mark}".encode()
        return [
            read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode()
            for pid in filter(str.isdigit, os.listdir("/proc"))
            if needle in read(f"/proc/{pid}/environ").split(b"\0")
        ]


def check_gang(lines: list[dict[str, Any]]) -> None:
    """The workers of a gang agree, and their ranks are a permutation, as far as they have begun."""
    for same in ("WORLD_SIZE", "GROUP_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        assert len({line[same] for line in lines}) == 1, f"{same} differs: {lines}"
    ranks = [int(line["RANK"]) for line in lines]
    size = int(lines[0]["WORLD_SIZE"])
    assert len(set(ranks)) == len(ranks)
    assert set(ranks) <= set(range(size))
    hosts = {line["host"]: line["GROUP_RANK"] for line in lines}
    assert len(set(hosts.values())) == len(hosts), f"two hosts, one rank: {hosts}"
    for line in lines:
        assert hosts[line["host"]] == line["GROUP_RANK"]


def until(found: Callable[[], T | None], otherwise: str) -> T:
    """Wait until something is there; looks every 20 ms."""
    deadline, pause = time.monotonic() + PATIENCE, threading.Event()
    while (value := found()) is None:
        assert time.monotonic() < deadline, otherwise
        pause.wait(0.02)
    return value


def read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
