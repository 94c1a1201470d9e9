"""Real etcd on loopback: one member or three, started here and ended by pid."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from procession._etcd.client import Client
from procession._etcd.settings import Settings, read_settings
from procession._os.ports import free_port
from procession.errors import RendezvousConnectionError


class Member:
    """One member of a cluster."""

    def __init__(self, name: str, directory: Path, peers: dict[str, int], extra: list[str]) -> None:
        self.name, self.directory, self.extra = name, directory, extra
        self.port = free_port()
        self.peers = peers
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        here, peer = f"http://{self.endpoint}", f"http://127.0.0.1:{self.peers[self.name]}"
        cluster = ",".join(f"{n}=http://127.0.0.1:{p}" for n, p in self.peers.items())
        words = {
            "name": self.name,
            "data-dir": self.directory / self.name,
            "listen-client-urls": here,
            "advertise-client-urls": here,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": cluster,
            "heartbeat-interval": 50,
            "election-timeout": 500,
            "logger": "zap",
            "log-outputs": self.directory / f"{self.name}.log",
        }
        argv = ["etcd", *(f"--{key}={value}" for key, value in words.items()), *self.extra]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def send(self, signum: int) -> None:
        assert self.process is not None
        self.process.send_signal(signum)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Cluster:
    """Members that know each other."""

    def __init__(self, directory: Path, size: int, extra: list[str]) -> None:
        peers = {f"m{n}": free_port() for n in range(size)}
        self.members = [Member(name, directory, peers, extra) for name in peers]
        for member in self.members:
            member.start()
        self.wait_writable()

    def settings(self, **conf: str) -> Settings:
        return read_settings(";".join(m.endpoint for m in self.members), conf, {})

    def wait_writable(self) -> None:
        """Wait until the cluster takes a write."""
        client, until = Client(self.settings()), time.monotonic() + 30
        try:
            while True:
                try:
                    client.put("/ready", b"")
                except RendezvousConnectionError:
                    assert time.monotonic() < until, "etcd does not get ready"
                else:
                    return
        finally:
            client.close()

    def end(self) -> None:
        for member in self.members:
            if member.process is not None:
                member.send(signal.SIGCONT)
            member.kill()


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Start a cluster of so many members."""
    clusters: list[Cluster] = []

    def make(size: int = 1, *extra: str) -> Cluster:
        clusters.append(Cluster(tmp_path, size, list(extra)))
        return clusters[-1]

    yield make
    for cluster in clusters:
        cluster.end()


@pytest.fixture
def client(make_cluster: Callable[..., Cluster]) -> Iterator[Client]:
    """A client of a cluster of one."""
    found = Client(make_cluster().settings())
    yield found
    found.close()
