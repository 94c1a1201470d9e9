"""Many hosts that form one gang, each an agent in a thread of one process: at etcd, and torch's c10d.

And two hosts, each a command of its own, whose gangs fail.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict, deque
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
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None

# One scene gives several figures: what one benchmark does not ask for waits here for another.
_spare: dict[tuple[str, str], deque[float]] = defaultdict(deque)


@contextmanager
def etcd() -> Iterator[str]:
    """One member on loopback, its data in memory: torch's store does not wait for a disk either."""
    client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
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
            time.sleep(0.01)
    client.close()


def driven(script: str, *words: str) -> str:
    """What a driver prints."""
    argv = [sys.executable, os.path.join(DRIVERS, script), *words]
    ended = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=PATIENCE)
    return ended.stdout


def figure(scene: str, name: str) -> float:
    """The next sample of a figure of a scene."""
    waiting = _spare[scene, name]
    if not waiting:
        with etcd() as endpoint:
            for key, value in SCENES[scene](endpoint).items():
                _spare[scene, key].append(value)
    return waiting.popleft()


def simulated(hosts: int, endpoint: str) -> dict[str, float]:
    """Hosts in threads of one process: to a gang, and what each asked and heard for it."""
    before = exchanged(endpoint)
    seconds = float(driven("crowd.py", str(hosts), endpoint))
    return {"seconds": seconds, "exchanged": (exchanged(endpoint) - before) / hosts}


def exchanged(endpoint: str) -> int:
    """How many requests etcd has answered, and of how many events it has told somebody."""
    with urllib.request.urlopen(f"http://{endpoint}/metrics") as response:
        text = response.read().decode()
    names = r"^(?:grpc_server_handled_total\{.*\}|etcd_debugging_mvcc_events_total) (\S+)$"
    return sum(int(float(number)) for number in re.findall(names, text, re.MULTILINE))


def commands(endpoint: str) -> dict[str, float]:
    found: dict[str, float] = json.loads(driven("failing_hosts.py", endpoint))
    return found


SCENES = {
    **{f"of {hosts}": partial(simulated, hosts) for hosts in (32, 128, 512, 1000)},
    "commands": commands,
}


def at_hub(deed: str, hosts: int) -> float:
    return float(driven("etcd_hosts.py", deed, str(hosts), "hub").split()[0])


def torchs(hosts: int) -> float:
    return float(driven("c10d_hosts.py", str(hosts), str(free_port())).split()[0])


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
        {OURS: partial(figure, "of 32", "seconds"), "torch c10d": partial(torchs, 32)},
        times_better=10,
        rounds=5,
        warm_up=False,
    ),
    Benchmark(
        "hosts-128",
        "128 simulated hosts form one gang",
        "s",
        {OURS: partial(figure, "of 128", "seconds")},
        at_most=5,
        rounds=5,
        warm_up=False,
    ),
    Benchmark(
        "hosts-1000",
        "1000 simulated hosts form one gang, all on two cores with their etcd; fewer for comparison",
        "s",
        {
            OURS: partial(figure, "of 1000", "seconds"),
            **{f"of {n} hosts": partial(figure, f"of {n}", "seconds") for n in (32, 128, 512)},
        },
        at_most=60,
        rounds=5,
        warm_up=False,
    ),
    Benchmark(
        "hosts-growth",
        "requests and events of one of 1000 hosts until they are one gang; of fewer for comparison",
        "",
        {
            OURS: partial(figure, "of 1000", "exchanged"),
            **{f"of {n} hosts": partial(figure, f"of {n}", "exchanged") for n in (32, 128, 512)},
        },
        at_most=10,
        rounds=5,
        warm_up=False,
    ),
    Benchmark(
        "hosts-signalled-p50",
        "a worker of one of two hosts dies: the workers of the other have their SIGTERM (median)",
        "s",
        {OURS: partial(figure, "commands", "p50")},
        at_most=1,
        rounds=5,
        warm_up=False,
    ),
    Benchmark(
        "hosts-signalled-p99",
        "a worker of one of two hosts dies: the workers of the other have their SIGTERM (99 %)",
        "s",
        {OURS: partial(figure, "commands", "p99")},
        at_most=1,
        rounds=5,
        warm_up=False,
    ),
    Benchmark(
        "hosts-restart",
        "a worker of one of two hosts dies: all workers of the next gang run their first line",
        "s",
        {OURS: partial(figure, "commands", "again")},
        at_most=2,
        rounds=5,
        warm_up=False,
    ),
)

if shutil.which("etcd") is None:  # .ci/system-packages installs it
    BENCHMARKS = WITHOUT_ETCD
