"""``--rdzv-conf serve=1``: the first host starts etcd, which lives as long as the run."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.real.pace import own_ports

from procession.testing import wait_for_text, wait_gone

pytestmark = [pytest.mark.program("etcd", "etcd-server"), pytest.mark.timeout(150)]

SCRIPT = """
import os, time
with open("told", "a") as file:
    file.write(f"{os.environ['RANK']} of {os.environ['WORLD_SIZE']}\\n")
while not os.path.exists("go"):
    time.sleep(0.02)
"""


@pytest.fixture
def start(here: Any) -> Any:
    here.file("s.py", SCRIPT)
    (here.directory / "told").touch()
    place = ("--rdzv-backend", "etcd", "--rdzv-endpoint", f"127.0.0.1:{own_ports(1)[0]}")

    def begin(*words: str, conf: str = "serve=1,lease=30", **kw: Any) -> Any:
        options = ("--nnodes", "2", "--rdzv-id", "job", "--rdzv-conf", conf)
        return here.start(*place, *options, *words, "s.py", **kw)

    return begin


def running(here: Any, program: str) -> list[int]:
    """The processes of a program that were started here."""
    mark = f"PROCESSION_TEST_MARK={here.mark}".encode()
    pids = filter(str.isdigit, os.listdir("/proc"))
    return [int(pid) for pid in pids if is_one(pid, program, mark)]


def is_one(pid: str, program: str, mark: bytes) -> bool:
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        return name == program and mark in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def end(process: Any) -> tuple[int, str]:
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_one_host_starts_it_and_it_ends_with_the_run(here: Any, start: Any) -> None:
    processes = [start() for _ in range(2)]
    wait_for_text(here.directory / "told", "0 of 2")
    wait_for_text(here.directory / "told", "1 of 2")
    assert len(running(here, "etcd")) == 1
    (here.directory / "go").touch()
    assert [end(process)[0] for process in processes] == [0, 0]
    assert running(here, "etcd") == []
    assert here.left() == []
    assert list(here.directory.parent.glob("procession-etcd-*")) == []


def test_the_host_that_has_it_is_ended(here: Any, start: Any) -> None:
    first = start()
    while "waiting for 1 of 2 hosts" not in (line := first.stderr.readline()):
        assert line, "it has ended"
    second = start()
    wait_for_text(here.directory / "told", "0 of 2")
    wait_for_text(here.directory / "told", "1 of 2")
    first.send_signal(signal.SIGTERM)
    (code, _), (status, text) = end(first), end(second)
    assert (code, status) == (143, 143), text
    assert "at which the hosts meet, was ended by SIGTERM" in text
    assert running(here, "etcd") == []


def test_that_of_another_agent_is_not_taken_for_ones_own(here: Any, start: Any) -> None:
    """Two start one at once, and the port goes to the other: it ends with that, not with this one."""
    slow = here.directory / "slow"
    slow.mkdir()
    here.file("slow/etcd", "#!/bin/sh\nexec sleep 600\n", mode=0o755)
    words, conf = ("--nnodes", "1:2"), "serve=1,lease=30,last_call_timeout=30"
    path = f"{slow}{os.pathsep}{here.environ['PATH']}"
    loser = start(*words, conf=conf, environ={"PATH": path})
    while not running(here, "sleep"):
        assert loser.poll() is None
        time.sleep(0.02)
    winner = start(*words, conf=conf)
    wait_for_text(here.directory / "told", "0 of 2")
    wait_for_text(here.directory / "told", "1 of 2")
    assert not running(here, "sleep")
    loser.send_signal(signal.SIGTERM)
    assert end(loser)[0] == 143
    wait_for_text(here.directory / "told", "0 of 1")
    (here.directory / "go").touch()
    assert end(winner)[0] == 0


def test_it_does_not_outlive_who_started_it(here: Any, start: Any) -> None:
    process = start()
    while "waiting for 1 of 2 hosts" not in (line := process.stderr.readline()):
        assert line, "it has ended"
    mine = running(here, "etcd")
    assert len(mine) == 1
    process.kill()
    process.communicate()
    assert not wait_gone(mine)


def test_there_is_no_etcd(here: Any, start: Any) -> None:
    nothing = here.directory / "bin"
    nothing.mkdir()
    code, text = end(start(environ={"PATH": str(nothing)}))
    assert code == 2
    assert "--rdzv-conf serve=1: there is no program etcd on this host" in text


def test_it_is_one_member_without_users(here: Any, start: Any) -> None:
    code, text = end(start(environ={"ETCDCTL_USER": "root:x"}))
    assert code == 2
    assert "is one member, without TLS and users" in text
