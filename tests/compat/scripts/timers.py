"""Countdown timers as torch documents them: queues, pipes, servers, blocks that take too long."""

import multiprocessing
import os
import signal
import subprocess
import threading
import time

import dump
from dump import case, raised
from torch.distributed.elastic import timer
from torch.distributed.elastic.timer.api import RequestQueue, TimerClient, TimerRequest, TimerServer
from torch.distributed.elastic.timer.file_based_local_timer import (
    FileTimerClient,
    FileTimerRequest,
    FileTimerServer,
)
from torch.distributed.elastic.timer.local_timer import MultiprocessingRequestQueue

LATER = 4e9


class Told(TimerClient):
    """Keeps what it is told."""

    def __init__(self):
        self.told = []

    def acquire(self, scope_id, expiration_time):
        self.told.append([scope_id, expiration_time > time.time()])

    def release(self, scope_id):
        self.told.append([scope_id, "released"])


@case
def blocks_with_timers(_):
    client, other = Told(), Told()
    try:
        with timer.expires(1):
            pass
    except RuntimeError as error:
        first = raised(error)
    timer.configure(client)
    with timer.expires(after=60, scope="outer"), timer.expires(60, "inner", other):
        pass
    try:
        with timer.expires(60, "raises"):
            raise KeyError("x")
    except KeyError:
        pass
    return {"first": first, "client": client.told, "other": other.told}


@case
def requests(_):
    one, same = TimerRequest(1, "a", 2.5), TimerRequest(1, "a", 2.5)
    file, other = FileTimerRequest(1, "a", 2.5, 9), FileTimerRequest(1, "a", 2.5, 15)
    return {
        "equal": [one == same, one == TimerRequest(1, "b", 2.5), one == "a", file == other],
        "file": [file.worker_pid, file.worker_id, file.version, file.signal, file.to_json()],
    }


@case
def a_queue(_):
    queue = multiprocessing.get_context("fork").Queue()
    requests = MultiprocessingRequestQueue(queue)
    found = [requests.get(1, 0.05)]
    for n in range(3):
        queue.put(TimerRequest(n, "s", 1))
    found.append([request.worker_id for request in requests.get(2, 20)])
    while queue.empty():  # its thread may be slow
        time.sleep(0.01)
    found.append([request.worker_id for request in requests.get(9, 0.5)])
    return [*found, isinstance(requests, RequestQueue)]


@case
def timers_of_a_local_server(_):
    server = timer.LocalTimerServer(multiprocessing.get_context("fork").Queue(), max_interval=0.1)
    wanted = [(1, "a", 10), (1, "b", 20), (2, "a", 5), (2, "a", -1), (3, "c", 30)]
    server.register_timers([TimerRequest(*one) for one in wanted])
    found = [expired(server, 15), expired(server, 30)]
    server.clear_timers({1})
    return [*found, expired(server, 100), isinstance(server, TimerServer)]


def expired(server, deadline):
    found = server.get_expired_timers(deadline)
    return {worker: sorted(t.scope_id for t in timers) for worker, timers in found.items()}


def stuck(queue, seconds):
    timer.configure(timer.LocalTimerClient(queue))
    with timer.expires(after=seconds):
        time.sleep(0.3 if seconds > 9 else 60)


@case
def workers_of_a_local_server(_):
    return [worker_of_a_local_server(seconds) for seconds in (0.1, 600)]


def worker_of_a_local_server(seconds):
    """Its own queue: who is killed while it holds the queue's lock keeps it for ever."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    server = timer.LocalTimerServer(queue, max_interval=0.05)
    worker = context.Process(target=stuck, args=(queue, seconds))
    worker.start()
    server.start()  # now: a fork beside its thread may find a lock taken, for ever
    worker.join(60)
    server.stop()
    return worker.exitcode


@case
def requests_through_a_pipe(directory):
    path, events = os.path.join(directory, "pipe"), []
    server = FileTimerServer(path, "run", 0.1, log_event=lambda name, _: events.append(name))
    server.start()
    client = FileTimerClient(path)
    for scope in ("a", "b", "c"):
        client.acquire(scope, LATER)
    client.release("b")
    server.run_once()
    return {
        "timers": sorted(scope for _, scope in server._timers),
        "mine": {pid == os.getpid() for pid, _ in server._timers},
        "signals": [t.signal == signal.SIGKILL for t in server._timers.values()],
        "count": server._request_count,
        "events": events,
        "pipe": os.path.exists(path),
    }


@case
def timers_of_a_file_server(directory):
    server = FileTimerServer(os.path.join(directory, "pipe"), "run")
    me, parent = os.getpid(), os.getppid()
    wanted = [(me, "a", 10), (me, "b", 20), (parent, "a", 5), (parent, "a", -1), (2**30, "x", 30)]
    server.register_timers([FileTimerRequest(*one) for one in wanted])
    found = [names(server, 15, me), names(server, 30, me)]
    server.clear_timers(set())  # who is gone is forgotten as well
    found.append(names(server, 100, me))
    server.clear_timers({me})
    found.append(names(server, 100, me))
    running = [server.is_process_running(pid) for pid in (me, 2**30)]
    fresh = abs(server.get_last_progress_time() - time.time()) < 30
    server.stop()
    return [*found, running, fresh]


def names(server, deadline, me):
    found = server.get_expired_timers(deadline)
    return {
        "me" if pid == me else "other": sorted(t.scope_id for t in timers)
        for pid, timers in found.items()
    }


@case
def a_signal_that_is_none_ends_nobody(directory):
    path, expired_once = os.path.join(directory, "pipe"), threading.Event()
    server = FileTimerServer(
        path, "run", 0.1, log_event=lambda name, _: expired_once.set() if "expired" in name else 0
    )
    server.start()
    sleeper = subprocess.Popen(["sleep", "60"])
    with open(path, "w") as file:
        file.write(FileTimerRequest(sleeper.pid, "s", time.time(), 0).to_json() + "\n")
    seen = expired_once.wait(30)
    lives = sleeper.poll() is None
    server.stop()
    sleeper.kill()
    sleeper.wait()
    return [seen, lives]


@case
def a_client_without_a_server(directory):
    try:
        FileTimerClient(os.path.join(directory, "nowhere")).acquire("s", 1)
    except BrokenPipeError as error:
        return type(error).__name__


@case
def a_request_that_is_too_long(directory):
    server = FileTimerServer(os.path.join(directory, "pipe"), "run", 0.1)
    server.start()
    try:
        FileTimerClient(os.path.join(directory, "pipe")).acquire("x" * 5000, 1)
    except RuntimeError as error:
        return type(error).__name__
    finally:
        server.run_once()


if __name__ == "__main__":
    dump.main()
