"""``etcd_hosts.py meet|fail|restart HOSTS ENDPOINT``: agents in threads, workers that only wait.

They meet at the etcd of that endpoint, or, where it is ``hub``, at a hub in this process.

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
from collections.abc import Callable

from procession._agent.agent import Agent, Patience
from procession._etcd.meeting import EtcdMeeting
from procession._etcd.settings import read_settings
from procession._hub.listening import open_hub
from procession._hub.meeting import HubMeeting
from procession._hub.state import HubState
from procession._membership.machine import Ended, Failing
from procession._membership.meeting import Meeting
from procession._membership.model import Account, Fate, Member, Round, Terms
from procession._os.ports import free_port
from procession._store.endpoint import Endpoint

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


def at_etcd(endpoint: str) -> Callable[[Member], Meeting]:
    """Makes the part that a host has in a meeting at etcd."""
    settings = read_settings(endpoint, {"request_timeout": "30"}, {})
    return lambda member: EtcdMeeting(settings, "run", member, LEASE, time.time_ns)


def at_hub(hosts: int) -> Callable[[Member], Meeting]:
    """Makes the part that a host has in a meeting at a hub, which listens here."""
    first, place, nnodes = "n0", Endpoint("127.0.0.1", free_port()), str(hosts)
    open_hub(HubState("life", "run", nnodes, first), place, lends=False).start()
    return lambda member: HubMeeting(
        place, "run", nnodes, member, LEASE, time.time_ns, leads=member.id == first
    )


def start(number: int, terms: Terms, join: Callable[[Member], Meeting]) -> Crew:
    crew = Crew()
    member = Member(f"n{number}", f"n{number}", 0)
    meeting = join(member)
    agent = Agent(member.id, terms, meeting, crew, Patience(), lambda _: None, time.time_ns)
    threading.Thread(target=agent.run, daemon=True).start()
    return crew


def all_started(crews: list[Crew]) -> float:
    for crew in crews:
        if not crew.started.acquire(timeout=PATIENCE):
            raise TimeoutError("not all hosts have started their workers")
    return time.monotonic()


def main(deed: str, hosts: int, endpoint: str) -> float:
    terms = Terms(hosts, hosts, 1)
    join = at_hub(hosts) if endpoint == "hub" else at_etcd(endpoint)
    began = time.monotonic()
    crews = [start(number, terms, join) for number in range(hosts)]
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
