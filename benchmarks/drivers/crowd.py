"""``crowd.py HOSTS ENDPOINT``: agents in threads that form one gang of workers that only wait.

A process has so many of them at most; prints the seconds until the workers of all have been started.
"""

from __future__ import annotations

import math
import os
import select
import sys
import threading
import time

from procession._agent.agent import Agent, Patience
from procession._etcd.meeting import EtcdMeeting
from procession._etcd.settings import Settings, read_settings
from procession._membership.machine import Ended, Failing
from procession._membership.model import Member, Round, Terms

TOGETHER = 125  # in a process: what waits for an interpreter's lock wakes every switch interval
PATIENCE = 100  # seconds
LEASE = 120  # seconds: nothing of this is about a lost host


class Crew:
    """Workers that run for ever."""

    def __init__(self) -> None:
        self.started = threading.Event()

    def start(self, _now: Round, _rank: int) -> None:
        self.started.set()

    def stop(self) -> None:
        """Nobody has to."""

    def kill(self) -> None:
        """There are no processes to kill."""

    def wait(self, fd: int, timeout: float) -> list[Failing | Ended]:
        poller = select.poll()  # select() knows no fd above 1023
        poller.register(fd, select.POLLIN)
        poller.poll(None if timeout == math.inf else math.ceil(1000 * timeout))
        return []

    def hold(self, until_ns: int) -> None:
        """There are no processes to kill."""

    def free_port(self) -> int:
        return 1


def start(number: int, terms: Terms, settings: Settings) -> Crew:
    crew = Crew()
    member = Member(f"n{number}", f"n{number}", 0)
    meeting = EtcdMeeting(settings, "run", member, LEASE, time.time_ns)
    agent = Agent(member.id, terms, meeting, crew, Patience(), lambda _: None, time.time_ns)
    threading.Thread(target=agent.run, daemon=True).start()
    return crew


def take_part(numbers: range, hosts: int, endpoint: str) -> None:
    sys.setswitchinterval(0.05)
    settings = read_settings(endpoint, {"request_timeout": "30"}, {})
    crews = [start(number, Terms(hosts, hosts), settings) for number in numbers]
    for crew in crews:
        if not crew.started.wait(PATIENCE):
            os._exit(1)
    os._exit(0)


def main(hosts: int, endpoint: str) -> float:
    began, processes = time.monotonic(), []
    for first in range(0, hosts, TOGETHER):
        pid = os.fork()
        if not pid:
            take_part(range(first, min(first + TOGETHER, hosts)), hosts, endpoint)
        processes.append(pid)
    statuses = [os.waitpid(pid, 0)[1] for pid in processes]
    if any(statuses):
        raise TimeoutError("not all hosts have started their workers")
    return time.monotonic() - began


if __name__ == "__main__":
    print(main(int(sys.argv[1]), sys.argv[2]))
