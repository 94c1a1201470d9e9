"""Many hosts that form one gang, each an agent in a thread of one process: at etcd, and torch's c10d."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks.timing import OURS, Benchmark
from procession._etcd.client import Client
from procession._etcd.settings import read_settings
from procession._os.ports import free_port
from procession.errors import RendezvousConnectionError

DRIVERS = os.path.join(os.path.dirname(__file__), "drivers")
PATIENCE = 120  # seconds


@contextmanager
def etcd() -> Iterator[str]:
    """One member on loopback, its data in a directory that is removed."""
    client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    with tempfile.TemporaryDirectory() as directory:
        member = subprocess.Popen(
            [
                "etcd",
                f"--data-dir={directory}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                "--logger=zap",
                f"--log-outputs={directory}/log",
            ],
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_writable(client)
            yield client.partition("//")[2]
        finally:
            member.kill()
            member.wait()


def wait_writable(endpoint: str) -> None:
    client = Client(read_settings(endpoint, {}, {}))
    for _ in range(2000):
        try:
            client.put("/ready", b"")
            break
        except RendezvousConnectionError:
            continue
    client.close()


def driven(script: str, *words: str) -> float:
    """The number that a driver prints first."""
    argv = [sys.executable, os.path.join(DRIVERS, script), *words]
    ended = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=PATIENCE)
    return float(ended.stdout.split()[0])


def ours(deed: str, hosts: int) -> float:
    with etcd() as endpoint:
        return driven("etcd_hosts.py", deed, str(hosts), endpoint)


def at_hub(deed: str, hosts: int) -> float:
    return driven("etcd_hosts.py", deed, str(hosts), "hub")


def torchs(hosts: int) -> float:
    return driven("c10d_hosts.py", str(hosts), str(free_port()))


WITHOUT_ETCD = (
    Benchmark(
        "hub-128",
        "128 simulated hosts form one gang at the first one's hub",
        "s",
        {OURS: partial(at_hub, "meet", 128)},
        at_most=5,
        rounds=5,
        warm_up=False,
    ),
    Benchmark(
        "hub-failure",
        "a worker fails on one host: the workers of 7 others are told over the hub to stop (slowest)",
        "s",
        {OURS: partial(at_hub, "fail", 8)},
        at_most=1,
        rounds=7,
        warm_up=False,
    ),
)
BENCHMARKS = (
    *WITHOUT_ETCD,
    Benchmark(
        "hosts-32",
        "32 simulated hosts form one gang",
        "s",
        {OURS: partial(ours, "meet", 32), "torch c10d": partial(torchs, 32)},
        times_better=10,
        rounds=5,
        warm_up=False,
    ),
    Benchmark(
        "hosts-128",
        "128 simulated hosts form one gang",
        "s",
        {OURS: partial(ours, "meet", 128)},
        at_most=5,
        rounds=5,
        warm_up=False,
    ),
    Benchmark(
        "hosts-failure",
        "a worker fails on one host: the workers of 7 others are told to stop (slowest)",
        "s",
        {OURS: partial(ours, "fail", 8)},
        at_most=1,
        rounds=7,
        warm_up=False,
    ),
)

if shutil.which("etcd") is None:  # .ci/system-packages installs it
    BENCHMARKS = WITHOUT_ETCD
