"""Timers: requests that come and go, workers that are stuck and are ended, and an agent that starts anew."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from procession import timer
from procession.agent.server import LocalElasticAgent, WorkerSpec, WorkerState
from procession.agent.server import local_elastic_agent as agents
from procession.agent.server.health_check_server import HealthCheckServer
from procession.multiprocessing import DefaultLogsSpecs, Std
from procession.rendezvous.alone import Alone
from procession.timer import (
    FileTimerClient,
    FileTimerRequest,
    FileTimerServer,
    TimerRequest,
    file_based_local_timer,
)
from procession.timer.api import RequestQueue
from procession.timer.local_timer import MultiprocessingRequestQueue

LATER = 4e9  # seconds since the epoch


def kept(server: Any) -> set[tuple[int, str]]:
    return set(server._timers)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing, for ever."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


# ---- requests


def test_requests_are_compared() -> None:
    assert TimerRequest(1, "a", 2.0) == TimerRequest(1, "a", 2.0)
    assert TimerRequest(1, "a", 2.0) != TimerRequest(1, "a", 3.0)
    assert TimerRequest(1, "a", 2.0) != "a"
    assert FileTimerRequest(1, "a", 2.0, 9) == FileTimerRequest(1, "a", 2.0, 9)
    assert FileTimerRequest(1, "a", 2.0, 9) != FileTimerRequest(1, "a", 2.0, 15)
    assert json.loads(FileTimerRequest(1, "a", 2.0, 9).to_json()) == {
        "version": 1,
        "pid": 1,
        "scope_id": "a",
        "expiration_time": 2.0,
        "signal": 9,
    }


class Told(timer.TimerClient):
    """A client that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, float]] = []

    def acquire(self, scope_id: str, expiration_time: float) -> None:
        self.told.append((scope_id, expiration_time))

    def release(self, scope_id: str) -> None:
        self.told.append((scope_id, -1))


def test_a_block_has_a_timer_that_bears_its_place() -> None:
    client = Told()
    timer.configure(client)
    before = time.time()
    with timer.expires(after=60), timer.expires(after=1, scope="inner"):
        pass
    (place, when), (inner, _), *released = client.told
    assert place.startswith(f"{__file__}#")
    assert before + 60 <= when <= time.time() + 60
    assert inner == "inner"
    assert released == [("inner", -1), (place, -1)]


def test_a_timer_ends_with_its_block_however_that_ends() -> None:
    client = Told()
    with pytest.raises(ValueError, match="x"), timer.expires(1, "s", client):
        raise ValueError("x")
    assert client.told[-1] == ("s", -1)


def test_without_a_client_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timer.api._configured, "client", None)
    with pytest.raises(RuntimeError, match="Configure timer client"), timer.expires(1):
        pass


# ---- the queue


def test_a_queue_gives_what_is_there() -> None:
    queue = multiprocessing.get_context("spawn").Queue()
    requests = MultiprocessingRequestQueue(queue)
    assert requests.get(2, 0.01) == []
    for n in range(3):
        queue.put(TimerRequest(n, "s", 1))
    assert [request.worker_id for request in requests.get(2, 30)] == [0, 1]
    rest: list[TimerRequest] = []
    while not rest:  # the queue's own thread may yet have to send it
        rest = requests.get(2, 0.5)
    assert [request.worker_id for request in rest] == [2]
    queue.close()
    queue.join_thread()


def stuck(queue: Any, releases: bool) -> None:
    timer.configure(timer.LocalTimerClient(queue))
    with timer.expires(after=0.2 if not releases else 600):
        if not releases:
            time.sleep(600)


@pytest.mark.parametrize("releases", [True, False])
def test_a_stuck_worker_is_ended(releases: bool) -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    server = timer.LocalTimerServer(queue, max_interval=0.05)
    server.start()
    worker = context.Process(target=stuck, args=(queue, releases))
    worker.start()
    worker.join(40)
    assert worker.exitcode == (0 if releases else -signal.SIGKILL)
    until = time.monotonic() + 30
    while (
        kept(server) or not queue.empty()
    ):  # the server's thread has yet to see the last request, or the death
        assert time.monotonic() < until
        threading.Event().wait(0.01)
    server.stop()
    queue.close()
    queue.join_thread()


class Queued(RequestQueue):
    """A queue of what it is made of."""

    def __init__(self, *requests: TimerRequest) -> None:
        self.requests = list(requests)

    def size(self) -> int:
        return len(self.requests)

    def get(self, size: int, timeout: float) -> list[TimerRequest]:
        taken, self.requests = self.requests[:size], self.requests[size:]
        return taken


class Reaping(timer.TimerServer):
    """A server whose workers end as they are told to here."""

    def __init__(self, queue: RequestQueue, how: dict[str, Any]) -> None:
        super().__init__(queue, 0.01)
        self.how, self.timers = how, dict[str, list[TimerRequest]]()
        self.cleared: list[set[Any]] = []

    def register_timers(self, timer_requests: list[TimerRequest]) -> None:
        for request in timer_requests:
            self.timers.setdefault(request.worker_id, []).append(request)

    def clear_timers(self, worker_ids: set[Any]) -> None:
        self.cleared.append(worker_ids)

    def get_expired_timers(self, deadline: float) -> dict[Any, list[TimerRequest]]:
        return self.timers

    def _reap_worker(self, worker_id: Any) -> bool:
        found = self.how[worker_id]
        if isinstance(found, Exception):
            raise found
        return bool(found)


def test_who_cannot_be_ended_is_tried_again_and_an_exception_ends_that() -> None:
    requests = [TimerRequest(name, "s", 0) for name in ("gone", "stays", "raises")]
    server = Reaping(Queued(*requests), {"gone": True, "stays": False, "raises": OSError("x")})
    server._run_watchdog()
    assert server.cleared == [{"gone", "raises"}]


# ---- the pipe


@pytest.fixture
def pipe(tmp_path: Path) -> str:
    return str(tmp_path / "timers")


def test_a_pipe_is_the_owners_alone(pipe: str) -> None:
    Path(pipe).write_text("something else")
    server = FileTimerServer(pipe, "job")
    found = os.stat(pipe)
    assert stat.S_ISFIFO(found.st_mode)
    assert stat.S_IMODE(found.st_mode) & 0o077 == 0
    server.stop()
    assert not os.path.exists(pipe)


def test_requests_come_through_a_pipe(pipe: str) -> None:
    said: list[str] = []
    server = FileTimerServer(pipe, "job", 5, log_event=lambda name, _: said.append(name))
    server.start()
    client = FileTimerClient(pipe)
    for scope in ("a", "b", "c"):
        client.acquire(scope, LATER)
    client.release("b")
    with open(pipe, "w") as other:
        other.write('{"pid": -1, "scope_id": "all", "expiration_time": 1, "signal": 9}\n')
        other.write('{"pid": "x"}\n[]\nno json\n')
    server.run_once()
    assert kept(server) == {(os.getpid(), "a"), (os.getpid(), "c")}
    assert server._request_count == 4
    assert said == ["watchdog started"]
    assert not os.path.exists(pipe)


def test_who_lets_go_in_time_is_heard_in_time(pipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server may stand still between its look at the pipe and its look at the clock."""
    said: list[str] = []
    server = FileTimerServer(pipe, "job", 0, log_event=lambda name, _: said.append(name))
    reader, client = file_based_local_timer._Pipe(pipe), FileTimerClient(pipe, signal=0)
    client.acquire("block", 100)

    def moments() -> Iterator[float]:
        yield from (50, 50, 99)
        client.release("block")
        while True:
            yield 101

    clock = moments()
    monkeypatch.setattr(file_based_local_timer, "time", SimpleNamespace(time=lambda: next(clock)))
    with reader:
        server._run_watchdog(reader)
        assert len(kept(server)) == 1
        server._run_watchdog(reader)
    assert kept(server) == set()
    assert said == []
    server.stop()


def test_many_clients_at_once_lose_nothing(pipe: str) -> None:
    server = FileTimerServer(pipe, "job", 5)
    server.start()

    def ask(name: int) -> None:
        client = FileTimerClient(pipe)
        for n in range(50):
            client.acquire(f"{name}/{n}", LATER)

    threads = [threading.Thread(target=ask, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.run_once()
    assert len(kept(server)) == 400


def test_a_stuck_process_is_ended_by_its_signal(
    pipe: str, sleeper: subprocess.Popen[bytes]
) -> None:
    said: list[tuple[str, Any]] = []
    server = FileTimerServer(pipe, "job", 30, log_event=lambda *what: said.append(what))
    server.start()
    with open(pipe, "w") as file:
        for scope, after, signum in (("none", 0.1, 0), ("soon", 0.2, 15), ("late", 600, 9)):
            request = FileTimerRequest(sleeper.pid, scope, time.time() + after, signum)
            file.write(f"{request.to_json()}\n")
    assert sleeper.wait(30) == -signal.SIGTERM
    server.stop()
    assert ("kill worker process", "soon") in [(name, r and r.scope_id) for name, r in said]
    assert said[-1] == ("watchdog stopped", None)


def test_a_timer_without_a_signal_ends_nobody(pipe: str, sleeper: subprocess.Popen[bytes]) -> None:
    expired = threading.Event()
    server = FileTimerServer(
        pipe, "job", 30, log_event=lambda name, _: expired.set() if "expired" in name else None
    )
    server.start()
    with open(pipe, "w") as file:
        file.write(f"{FileTimerRequest(sleeper.pid, 's', time.time(), 0).to_json()}\n")
    assert expired.wait(30)
    server.stop()
    assert sleeper.poll() is None


def test_timers_of_who_is_gone_are_forgotten(pipe: str, sleeper: subprocess.Popen[bytes]) -> None:
    server = FileTimerServer(pipe, "job")
    for pid in (sleeper.pid, os.getpid()):
        server.register_timers([FileTimerRequest(pid, "s", LATER, 9)])
    sleeper.kill()
    sleeper.wait()
    server.clear_timers(set())
    assert kept(server) == {(os.getpid(), "s")}
    server.stop()


def test_no_server(pipe: str) -> None:
    with pytest.raises(BrokenPipeError, match="no timer server reads from"):
        FileTimerClient(pipe).acquire("s", 1)


def test_a_request_that_is_too_long(pipe: str) -> None:
    with pytest.raises(RuntimeError, match="takes 4096 bytes at most"):
        FileTimerClient(pipe).acquire("x" * 5000, 1)


def test_progress_is_known_with_the_first_request(
    pipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be asked for while that request is dealt with, and nothing came for long before it."""
    server, seen = FileTimerServer(pipe, "job", 0), list[int]()
    server._last_progress_time = 5
    monkeypatch.setattr(
        server, "register_timers", lambda _: seen.append(server.get_last_progress_time())
    )
    reader = file_based_local_timer._Pipe(pipe)
    with reader:
        FileTimerClient(pipe).acquire("s", LATER)
        server._run_watchdog(reader)
    server.stop()
    assert seen[0] >= time.time() - 60


def test_a_server_tells_when_it_last_did_something(pipe: str) -> None:
    server = FileTimerServer(pipe, "job", 0.05)
    server._last_progress_time = 5
    assert server.get_last_progress_time() >= time.time() - 5  # nobody has asked for a timer
    server.start()
    FileTimerClient(pipe).acquire("s", LATER)
    until = time.monotonic() + 30
    while not server._is_client_started:
        assert time.monotonic() < until
        threading.Event().wait(0.01)
    assert server.get_last_progress_time() >= time.time() - 10
    server.stop()


# ---- an agent with a server

STUCK = """
import os, sys, time
from procession import timer
timer.configure(timer.FileTimerClient(os.environ["TORCHELASTIC_TIMER_FILE"]))
if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" or len(sys.argv) > 1:
    with timer.expires(after=0.2, scope="all_reduce"):
        time.sleep(600)
"""


def agent_of(tmp_path: Path, *words: str, restarts: int) -> LocalElasticAgent:
    (tmp_path / "stuck.py").write_text(STUCK)
    spec = WorkerSpec(
        "r",
        1,
        Alone("static", "job", "127.0.0.1"),
        entrypoint=sys.executable,
        args=(str(tmp_path / "stuck.py"), *words),
        max_restarts=restarts,
        event_log_handler=f"jsonl:{tmp_path / 'events'}",
    )
    return LocalElasticAgent(spec, DefaultLogsSpecs(str(tmp_path / "logs"), redirects=Std.ALL))


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_ENABLE_FILE_TIMER", "1")


@pytest.mark.usefixtures("watched")
def test_an_agent_starts_a_stuck_worker_again(tmp_path: Path) -> None:
    result = agent_of(tmp_path, restarts=1).run()
    assert result.state is WorkerState.SUCCEEDED
    told = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    names = [event["name"] for event in told if event["name"].startswith(("watchdog", "timer"))]
    started, ended = "watchdog started", "watchdog stopped"
    assert names == [started, "timer expired", ended, started, ended]
    assert "kill worker process" in [event["name"] for event in told]
    expired = json.loads(
        next(e for e in told if e["name"] == "timer expired")["metadata"]["metadata"]
    )
    assert (expired["scope_id"], expired["signal"]) == ("all_reduce", "9")


@pytest.mark.usefixtures("watched")
def test_the_report_says_which_timer_had_run_out(tmp_path: Path) -> None:
    result = agent_of(tmp_path, "always", restarts=0).run()
    assert result.failures[0].exitcode == -signal.SIGKILL
    assert "its timer all_reduce had run out" in str(result.failures[0].message)


def test_a_pipe_of_somebody_elses_is_handed_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_TIMER_FILE", "/theirs")
    envs = {0: {"A": "1"}}
    agent_of(tmp_path, restarts=0)._setup_local_watchdog(envs)
    assert envs == {0: {"A": "1", "TORCHELASTIC_TIMER_FILE": "/theirs"}}


def test_a_health_check_server_is_started_and_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    class Server(HealthCheckServer):
        def start(self) -> None:
            told.append((self._port, self._timeout, self.alive_callback() > 10**9))

        def stop(self) -> None:
            told.append("stopped")

    monkeypatch.setattr(agents, "create_healthcheck_server", Server)
    monkeypatch.setenv("TORCHELASTIC_HEALTH_CHECK_PORT", "1234")
    (tmp_path / "s").write_text("")
    spec = WorkerSpec("r", 1, Alone("static", "job", "127.0.0.1"), entrypoint="true")
    LocalElasticAgent(spec, DefaultLogsSpecs(str(tmp_path / "logs"))).run()
    assert told == [(1234, 60, True), "stopped"]
