"""Hosts in threads of one process: real agents and a real store, workers that do as they are told."""

from __future__ import annotations

import os
import queue
import select
import threading
import time
from collections.abc import Callable

from procession._agent.agent import Agent, Patience
from procession._etcd.meeting import EtcdMeeting
from procession._etcd.settings import Settings
from procession._membership.machine import End, Ended, Failing
from procession._membership.model import Account, Fate, Member, Round, Terms


class Stopped(Exception):
    """Somebody ends an agent."""


class ToldCrew:
    """Workers that run until they are told otherwise."""

    def __init__(self) -> None:
        self.started: queue.Queue[tuple[Round, int]] = queue.Queue()
        self.running: Round | None = None
        self.killed_at = 0.0
        self.stopped_at = 0.0
        self.stubborn = False  # what it comes to after a stop is said by the test
        self._orders: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._ear, self._bell = os.pipe()
        self._closed = False

    def start(self, now: Round, rank: int) -> None:
        assert self.running is None
        self.running = now
        self.started.put((now, rank))

    def stop(self) -> None:
        self.stopped_at = time.monotonic()
        if not self.stubborn:
            self.order(Ended(Fate.STOPPED))

    def kill(self) -> None:
        self.running, self.killed_at = None, time.monotonic()

    def wait(self, fd: int, timeout: float) -> list[Failing | Ended]:
        limit = None if timeout == float("inf") else timeout
        ready, _, _ = select.select([fd, self._ear], [], [], limit)
        if self._ear not in ready:
            return []
        os.read(self._ear, 1)
        order = self._orders.get_nowait()
        if isinstance(order, BaseException):
            raise order
        if isinstance(order, Ended):
            if self.running is None:
                return []
            self.running = None
        return [order]  # type: ignore[list-item]

    def free_port(self) -> int:
        return 4321

    def order(self, what: object) -> None:
        self._orders.put(what)
        os.write(self._bell, b"!")

    def fail(self, status: int = 3, **known: object) -> None:
        account = Account(status, "out of luck")._replace(**known)  # type: ignore[arg-type]
        self.order(Failing())
        self.order(Ended(Fate.FAILED, account))

    def succeed(self) -> None:
        self.order(Ended(Fate.SUCCEEDED))

    def close(self) -> None:
        if not self._closed:
            os.close(self._ear)
            os.close(self._bell)
        self._closed = True


class SimulatedHost:
    """An agent in a thread."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        terms: Terms,
        *,
        run_id: str = "run",
        ttl: int = 20,
        patience: Patience = Patience(60, 0.3),  # noqa: B008
        node_rank: int | None = None,
        say: Callable[[str], None] = lambda _: None,
        skew: int = 0,  # ns that its clock is ahead
    ) -> None:
        self.name = name
        member = Member(f"{name}-{os.urandom(3).hex()}", name, 0, 2, node_rank)
        self.crew = ToldCrew()
        self.clock: Callable[[], int] = lambda: time.time_ns() + skew
        meeting = EtcdMeeting(settings, run_id, member, ttl, self.clock)
        self.agent = Agent(member.id, terms, meeting, self.crew, patience, say, self.clock, Stopped)
        self.end: End | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.end = self.agent.run()
        except BaseException as error:
            self.error = error

    def started(self, timeout: float = 30) -> tuple[Round, int]:
        """The next round that it starts, and its rank there."""
        return self.crew.started.get(timeout=timeout)

    def leave(self) -> None:
        self.crew.order(Stopped())

    def join(self, timeout: float = 40) -> End | None:
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"{self.name} does not end"
        self.crew.close()
        return self.end
