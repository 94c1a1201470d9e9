"""Real etcd on loopback: one member or three, started here and ended by pid."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.real.pace import own_ports

from procession._etcd.client import Client
from procession._etcd.messages import key_range
from procession._etcd.settings import Settings, read_settings
from procession.errors import ProcessionError, RendezvousConnectionError


class Member:
    """One member of a cluster."""

    def __init__(
        self, name: str, directory: Path, port: int, peers: dict[str, int], extra: list[str]
    ) -> None:
        self.name, self.directory, self.extra = name, directory, extra
        self.scheme = "https" if any(word.startswith("--cert-file") for word in extra) else "http"
        self.port, self.peers = port, peers
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        here, peer = f"{self.scheme}://{self.endpoint}", f"http://127.0.0.1:{self.peers[self.name]}"
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
    """Members that know each other; ``conf`` is what a client needs to be let in."""

    def __init__(
        self, directory: Path, size: int, extra: list[str], conf: dict[str, str] | None = None
    ) -> None:
        self.conf = conf or {}
        ports = own_ports(2 * size)
        peers = {f"m{n}": ports.pop() for n in range(size)}
        self.members = [Member(name, directory, ports.pop(), peers, extra) for name in peers]
        try:
            for member in self.members:
                member.start()
            self.wait_writable()
        except BaseException:
            self.end()
            raise

    def settings(self, **conf: str) -> Settings:
        patient = {"request_timeout": "10"}  # a busy machine is no fault
        return read_settings(self.endpoints, {**patient, **self.conf, **conf}, {})

    @property
    def endpoints(self) -> str:
        return ";".join(member.endpoint for member in self.members)

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

    def ask_for_passwords(self, **passwords: str) -> None:
        """Let in only whom it knows: root, and others, who may write what runs need."""
        runs = {"permType": "READWRITE", **key_range("/procession/")}
        deeds: list[tuple[str, dict[str, Any]]] = [("/v3/auth/role/add", {"name": "runs"})]
        deeds.append(("/v3/auth/role/grant", {"name": "runs", "perm": runs}))
        for name, password in passwords.items():
            role = "root" if name == "root" else "runs"
            deeds.append(("/v3/auth/user/add", {"name": name, "password": password}))
            deeds.append(("/v3/auth/user/grant", {"user": name, "role": role}))
        client = Client(self.settings())
        for path, body in (*deeds, ("/v3/auth/enable", {})):
            try:
                client.call(path, body)
            except ProcessionError as error:
                # Done before, by a try whose answer was lost?
                if not any(words in str(error) for words in ("already", "who we are")):
                    raise
        client.close()

    def end(self) -> None:
        for member in self.members:
            if member.process is not None:
                member.send(signal.SIGCONT)
            member.kill()
            # Half a gigabyte, of which pytest would keep three; a disk that is nearly full is warned of.
            shutil.rmtree(member.directory / member.name, ignore_errors=True)


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Start a cluster of so many members."""
    clusters: list[Cluster] = []

    def make(size: int = 1, *extra: str, conf: dict[str, str] | None = None) -> Cluster:
        clusters.append(Cluster(tmp_path, size, list(extra), conf))
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
