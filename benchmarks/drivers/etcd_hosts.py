"""``etcd_hosts.py meet|fail|restart HOSTS ENDPOINT``: agents in threads, workers that only wait.

Prints a time: until all have their workers, until all have been told to stop them after a failure on
one host (the slowest), or until all have new ones.
"""

from __future__ import annotations

import math
import os
import queue
import select
import sys
import threading
import time

from procession._agent.agent import Agent, Patience
from procession._etcd.meeting import EtcdMeeting
from procession._etcd.settings import Settings, read_settings
from procession._membership.machine import Ended, Failing
from procession._membership.model import Account, Fate, Member, Round, Terms

PATIENCE = 100  # seconds
LEASE = 60  # seconds: a process of so many agents is busy


class Crew:
    """Workers that run until they are told otherwise."""

    def __init__(self) -> None:
        self.started = threading.Semaphore(0)
        self.told_at = 0.0
        self._orders: queue.SimpleQueue[Failing | Ended] = queue.SimpleQueue()
        self._ear, self._bell = os.pipe()

    def start(self, _now: Round, _rank: int) -> None:
        self.started.release()

    def stop(self) -> None:
        self.told_at = time.monotonic()
        self.order(Ended(Fate.STOPPED))

    def kill(self) -> None:
        pass

    def wait(self, fd: int, timeout: float) -> list[Failing | Ended]:
        poller = select.poll()  # select() knows no fd above 1023
        poller.register(fd, select.POLLIN)
        poller.register(self._ear, select.POLLIN)
        ready = poller.poll(None if timeout == math.inf else math.ceil(1000 * timeout))
        if self._ear not in dict(ready):
            return []
        os.read(self._ear, 1)
        return [self._orders.get_nowait()]

    def hold(self, until_ns: int) -> None:
        """There are no processes to kill."""

    def free_port(self) -> int:
        return 1

    def order(self, what: Failing | Ended) -> None:
        self._orders.put(what)
        os.write(self._bell, b"!")


def start(number: int, terms: Terms, settings: Settings) -> Crew:
    crew = Crew()
    member = Member(f"n{number}", f"n{number}", 0)
    meeting = EtcdMeeting(settings, "run", member, LEASE, time.time_ns)
    agent = Agent(member.id, terms, meeting, crew, Patience(), lambda _: None, time.time_ns)
    threading.Thread(target=agent.run, daemon=True).start()
    return crew


def all_started(crews: list[Crew]) -> float:
    for crew in crews:
        if not crew.started.acquire(timeout=PATIENCE):
            raise TimeoutError("not all hosts have started their workers")
    return time.monotonic()


def main(deed: str, hosts: int, endpoint: str) -> float:
    terms, settings = Terms(hosts, hosts, 1), read_settings(endpoint, {"request_timeout": "30"}, {})
    began = time.monotonic()
    crews = [start(number, terms, settings) for number in range(hosts)]
    formed = all_started(crews)
    if deed == "meet":
        return formed - began
    failed = time.monotonic()
    crews[0].order(Failing())
    crews[0].order(Ended(Fate.FAILED, Account(1, "")))
    again = all_started(crews)
    if deed == "restart":
        return again - failed
    return max(crew.told_at for crew in crews[1:]) - failed


if __name__ == "__main__":
    sys.stdout.write(f"{main(sys.argv[1], int(sys.argv[2]), sys.argv[3])}\n")
    sys.stdout.flush()
    os._exit(0)
