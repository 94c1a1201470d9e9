"""``procession run`` on several hosts without etcd: what is peculiar to a hub in the first host's agent."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from tests.real.pace import own_ports

from procession._store.endpoint import Endpoint
from procession.testing import stop, wait_for_text, wait_gone

pytestmark = pytest.mark.timeout(150)

# Seconds, of a host whose lease is waited for to run out: whoever goes on has a long one.
SHORT = "lease=5"

# Rank 0 listens at MASTER_PORT as plainly as can be; the others tell that they have met it.
MEET = """
import os, socket, sys, time
me, attempt = os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]
where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
def tell(what):
    with open("told", "a") as file:
        file.write(f"{attempt}-{me} {what} {os.getpid()}\\n")
if me == "0":
    server = socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET)
    server.bind(where)
    server.listen()
    others = [server.accept()[0] for _ in range(int(os.environ["WORLD_SIZE"]) - 1)]
    for other in others:
        other.sendall(b"!")
        other.recv(1)  # who connected closes first: the port is not left in TIME_WAIT
else:
    while True:
        try:
            with socket.create_connection(where) as line:
                line.recv(1)
            break
        except OSError:
            time.sleep(0.02)
tell("met")
while not os.path.exists("go"):
    time.sleep(0.02)
text = open("go").read().split()
if text and text[0] == f"{attempt}-{me}":
    sys.exit(int(text[1]))
"""


class Hub:
    """Commands that meet at one address of this host."""

    def __init__(self, here: Any) -> None:
        self.here, (self.port,), self.address = here, own_ports(1), "127.0.0.1"
        self.told = here.directory / "told"
        self.told.touch()
        here.file("s.py", MEET)

    @property
    def endpoint(self) -> str:
        return str(Endpoint(self.address, self.port))

    def c10d(self, *words: str, conf: str = "lease=30", **kw: Any) -> Any:
        place = ("--rdzv-backend", "c10d", "--rdzv-endpoint", self.endpoint)
        return self.here.start(*place, "--rdzv-conf", conf, *words, "s.py", **kw)

    def static(self, rank: int, *words: str, conf: str = "lease=30") -> Any:
        """torchrun's classic."""
        place = ("--master-addr", self.address, "--master-port", str(self.port))
        return self.here.start(
            *place, "--rdzv-conf", conf, "--node-rank", str(rank), *words, "s.py"
        )

    def met(self, *names: str) -> list[int]:
        """Wait until these have; return their pids."""
        for name in names:
            text = wait_for_text(self.told, f"{name} met")
        pids = {line.split()[0]: int(line.split()[2]) for line in text.splitlines()}
        return [pids[name] for name in names]

    def go(self, text: str = "") -> None:
        (self.here.directory / ".go").write_text(text)
        (self.here.directory / ".go").rename(self.here.directory / "go")

    def end(self, process: Any) -> tuple[int, str]:
        _, err = process.communicate(timeout=60)
        return process.returncode, err


@pytest.fixture
def hub(here: Any) -> Iterator[Hub]:
    yield Hub(here)
    assert here.left_in_time() == []


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_same_command_on_every_host(hub: Hub, address: str) -> None:
    hub.address = address
    processes = [hub.c10d("--nnodes", "2") for _ in range(2)]
    hub.met("0-0", "0-1")
    hub.go()
    assert [hub.end(process)[0] for process in processes] == [0, 0]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_workers_have_the_port_at_every_attempt(hub: Hub, address: str) -> None:
    hub.address = address
    words = ("--nnodes", "2", "--max-restarts", "1")
    processes = [hub.static(rank, *words) for rank in (0, 1)]
    hub.met("0-0", "0-1")
    hub.go("0-1 7")
    hub.met("1-0", "1-1")
    assert [hub.end(process)[0] for process in processes] == [0, 0]


def test_a_lost_host_comes_back_to_the_port(hub: Hub) -> None:
    words = ("--nnodes", "2", "--max-restarts", "1")
    first, second = hub.static(0, *words), hub.static(1, *words, conf=SHORT)
    hub.met("0-0", "0-1")
    second.kill()
    second.communicate()
    again = hub.static(1, *words)
    hub.met("1-0", "1-1")
    hub.go()
    assert [hub.end(process)[0] for process in (first, again)] == [0, 0]


def test_the_first_host_may_come_last(hub: Hub) -> None:
    second = hub.static(1, "--nnodes", "2")
    refused = f"waiting for the place where the hosts meet ({hub.endpoint}: Connection refused), "
    while refused not in (line := second.stderr.readline()):
        assert "(no answer yet)" in line  # its first try takes its time
    first = hub.static(0, "--nnodes", "2")
    hub.met("0-0", "0-1")
    hub.go()
    assert [hub.end(process)[0] for process in (first, second)] == [0, 0]


def test_nobody_comes_where_they_meet(hub: Hub) -> None:
    process = hub.c10d("--nnodes", "2", conf="is_host=0,join_timeout=3")
    code, text = hub.end(process)
    assert code == 75
    assert (
        f"the place where the hosts meet was not reached within 3 s: {hub.endpoint}: Conn" in text
    )


def test_the_host_of_the_hub_is_ended(hub: Hub) -> None:
    first = hub.c10d("--nnodes", "1:2", conf="is_host=1,lease=30,last_call_timeout=20")
    second = hub.c10d("--nnodes", "1:2", conf="is_host=0,lease=30,last_call_timeout=20")
    hub.met("0-0", "0-1")
    first.send_signal(signal.SIGTERM)
    (code, _), (status, text) = hub.end(first), hub.end(second)
    assert (code, status) == (143, 143)
    assert f"{os.uname().nodename}, at which the hosts meet, was ended by SIGTERM" in text


def test_the_host_of_the_hub_is_ended_before_a_gang_has_formed(hub: Hub) -> None:
    first = hub.c10d("--nnodes", "3", conf="is_host=1,lease=30")
    second = hub.c10d("--nnodes", "3", conf="is_host=0,lease=30")
    while "waiting for 1 of 3 hosts" not in (line := second.stderr.readline()):
        assert line, "it has ended"
    first.send_signal(signal.SIGINT)
    assert (hub.end(first)[0], hub.end(second)[0]) == (130, 130)


def test_the_host_of_the_hub_is_killed(hub: Hub) -> None:
    first = hub.c10d("--nnodes", "1:2", "--max-restarts", "3", conf=f"is_host=1,{SHORT}")
    second = hub.c10d("--nnodes", "1:2", "--max-restarts", "3", conf=f"is_host=0,{SHORT}")
    workers = hub.met("0-0", "0-1")
    first.kill()
    first.communicate()
    code, text = hub.end(second)
    assert code == 69
    assert f"{hub.endpoint} has not answered for 3.5 s" in text
    assert "The workers of this host have been killed" in text
    assert not wait_gone(workers)


def test_the_host_of_the_hub_is_stopped(hub: Hub) -> None:
    first = hub.c10d("--nnodes", "2", conf=f"is_host=1,{SHORT}")
    second = hub.c10d("--nnodes", "2", conf=f"is_host=0,{SHORT}")
    workers = hub.met("0-0", "0-1")
    stop(first.pid)
    assert hub.end(second)[0] == 69
    assert not wait_gone(workers)
    first.send_signal(signal.SIGCONT)
    code, text = hub.end(first)
    assert code in (69, 71), (
        text
    )  # what it learns first: its lease is lost, or its guardian is gone


def test_a_hub_waits_for_who_takes_longer_to_end(hub: Hub) -> None:
    slow = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: time.sleep(2.5)); " + MEET
    hub.here.file("s.py", slow.replace('"RANK"', "'RANK'"))
    words = ("--nnodes", "2")
    first, second = (hub.static(rank, *words) for rank in (0, 1))
    hub.met("0-0", "0-1")
    hub.go("0-0 5")
    (code, text), (status, other) = hub.end(first), hub.end(second)
    assert (code, status) == (5, 5), text + other


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (
            ("--nnodes", "2", "--rdzv-id", "b"),
            "the hosts of the run 'a' meet here, not those of 'b'",
        ),
        (("--nnodes", "3", "--rdzv-id", "a"), "the run here was started with --nnodes 2, not 3"),
    ],
)
def test_a_host_of_another_run_is_refused(hub: Hub, words: tuple[str, ...], refusal: str) -> None:
    first = hub.c10d("--nnodes", "2", "--rdzv-id", "a", conf="is_host=1,lease=30")
    code, text = hub.end(hub.c10d(*words, conf="is_host=0,lease=30"))
    assert code == 2
    assert f"{hub.endpoint}: {refusal}" in text
    first.send_signal(signal.SIGTERM)
    assert hub.end(first)[0] == 143


def test_somebody_else_listens_there(hub: Hub) -> None:
    with socket.create_server(("127.0.0.1", hub.port)):
        code, text = hub.end(hub.static(0, "--nnodes", "2"))
        assert code == 71
        assert f"{hub.endpoint}: this host cannot listen there: Address already in use" in text


def test_the_place_is_another_hosts(hub: Hub) -> None:
    words = ("--nnodes", "2", "--node-rank", "0", "--master-addr", "192.0.2.1", "s.py")
    code, text = hub.end(hub.here.start(*words))
    assert code == 2
    assert "192.0.2.1:29500: this host cannot listen there: Cannot assign requested address" in text


def test_a_name_that_cannot_be_found_is_waited_for(hub: Hub) -> None:
    words = ("--nnodes", "2", "--node-rank", "1", "--master-addr", "nowhere.invalid")
    code, text = hub.end(hub.here.start(*words, "--rdzv-conf", "join_timeout=2", "s.py"))
    assert code == 75
    assert "nowhere.invalid, where the hosts meet, was not found within 2 s: " in text
    waits = hub.here.start(*words, "s.py")
    waiting = "waiting for the place where the hosts meet (nowhere.invalid: "
    assert waiting in waits.stderr.readline()
    waits.send_signal(signal.SIGTERM)
    assert hub.end(waits)[0] == 143


def test_it_listens_where_it_was_asked_to_and_nowhere_else(hub: Hub) -> None:
    first = hub.static(0, "--nnodes", "2")
    while "waiting for 1 of 2 hosts" not in (line := first.stderr.readline()):
        assert line, "it has ended"
    assert {address for address, _ in listened_at(first.pid)} == {"0100007F"}
    assert f"{hub.port:04X}" in {port for _, port in listened_at(first.pid)}
    first.send_signal(signal.SIGTERM)
    assert hub.end(first)[0] == 143


def listened_at(pid: int) -> set[tuple[str, str]]:
    """Address and port, in the kernel's hexadecimal, of the sockets at which a process listens."""
    sockets = {os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")}
    found = set()
    for table in ("tcp", "tcp6"):
        with open(f"/proc/net/{table}") as file:
            rows = [row.split() for row in file.readlines()[1:]]
        found |= {
            tuple(row[1].split(":"))
            for row in rows
            if row[3] == "0A" and f"socket:[{row[9]}]" in sockets
        }
    return found  # type: ignore[return-value]
