"""``etcd_hosts.py meet|fail HOSTS ENDPOINT``: agents in threads, workers that only wait; prints a time."""

from __future__ import annotations

import os
import queue
import select
import sys
import threading
import time

from procession._agent.agent import Agent, Patience
from procession._etcd.meeting import EtcdMeeting
from procession._etcd.settings import read_settings
from procession._membership.machine import Ended, Failing
from procession._membership.model import Account, Fate, Member, Round, Terms


class Crew:
    """Workers that run until they are told otherwise."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.stopped_at = 0.0
        self._orders: queue.SimpleQueue[Failing | Ended] = queue.SimpleQueue()
        self._ear, self._bell = os.pipe()

    def start(self, _now: Round, _rank: int) -> None:
        self.started.set()

    def stop(self) -> None:
        self.stopped_at = time.monotonic()
        self.order(Ended(Fate.STOPPED))

    def kill(self) -> None:
        pass

    def wait(self, fd: int, timeout: float) -> list[Failing | Ended]:
        ready, _, _ = select.select([fd, self._ear], [], [], min(timeout, 60))
        if self._ear not in ready:
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


def main(deed: str, hosts: int, endpoint: str) -> float:
    settings = read_settings(endpoint, {}, {})
    crews = [Crew() for _ in range(hosts)]
    began = time.monotonic()
    for number, crew in enumerate(crews):
        member = Member(f"n{number}", f"n{number}", 0)
        meeting = EtcdMeeting(settings, "run", member, 30)
        agent = Agent(member.id, Terms(hosts, hosts), meeting, crew, Patience(), lambda _: None)
        threading.Thread(target=agent.run, daemon=True).start()
    for crew in crews:
        crew.started.wait(100)
    if deed == "meet":
        return time.monotonic() - began
    failed = time.monotonic()
    crews[0].order(Failing())
    while not all(crew.stopped_at for crew in crews[1:]):
        threading.Event().wait(0.001)
    crews[0].order(Ended(Fate.FAILED, Account(1, "")))
    return 1000 * (max(crew.stopped_at for crew in crews[1:]) - failed)


if __name__ == "__main__":
    sys.stdout.write(f"{main(sys.argv[1], int(sys.argv[2]), sys.argv[3])}\n")
    sys.stdout.flush()
    os._exit(0)
