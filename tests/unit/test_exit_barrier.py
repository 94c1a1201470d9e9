"""An agent whose workers are done waits for those of the other hosts, by no clock as long as all of them live."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, ClassVar

import pytest
from tests.unit.test_dynamic_rendezvous import Meeting, until

from procession._report.evidence import Evidence
from procession.agent.server import RunResult, SimpleElasticAgent, WorkerSpec, WorkerState
from procession.errors import RendezvousClosedError
from procession.multiprocessing.errors import ProcessFailure
from procession.rendezvous import RendezvousHandler

SHORT = 0.2  # seconds, in place of torch's 300


class Agent(SimpleElasticAgent):
    """An agent whose workers end as a test says."""

    all: ClassVar[list[Agent]] = []  # of a test

    def __init__(self, handler: RendezvousHandler, restarts: int = 1) -> None:
        spec = WorkerSpec("r", 1, handler, entrypoint="true", max_restarts=restarts)
        super().__init__(spec, exit_barrier_timeout=SHORT)
        self.ends: list[WorkerState] = []
        self.failures: dict[int, ProcessFailure] = {}
        self.gangs = 0
        self.news = threading.Event()  # it looks at its workers
        self.news.set()
        self.over = threading.Event()
        self.all.append(self)

    def _wait_for_news(self, seconds: float) -> None:
        assert self.news.wait(30)
        assert not self.over.is_set()
        super()._wait_for_news(seconds)

    @property
    def waits(self) -> bool:
        return self._in_exit_barrier

    def _start_workers(self, worker_group: Any) -> dict[int, Any]:
        self.gangs += 1
        return {0: self.gangs}

    def _stop_workers(self, worker_group: Any) -> None:
        pass

    def _monitor_workers(self, worker_group: Any) -> RunResult:
        state = self.ends.pop(0) if self.ends else WorkerState.HEALTHY
        return RunResult(state, failures=self.failures)

    def _shutdown(self, death_sig: signal.Signals = signal.SIGTERM, timeout: int = 30) -> None:
        pass


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Meeting]:
    monkeypatch.setattr("procession.agent.server.api._BARRIER_LOOK", SHORT)
    made = Meeting()
    yield made
    for handler in made.handlers:
        handler.shutdown()


@pytest.fixture
def pool(meeting: Meeting) -> Iterator[ThreadPoolExecutor]:
    """Threads for agents, which end with the test, however that ends."""
    Agent.all.clear()
    with ThreadPoolExecutor(4) as made:
        try:
            yield made
        finally:
            for agent in Agent.all:
                agent.over.set()
                agent.news.set()
            for handler in meeting.handlers:
                handler._heart.stopped.set()


def begin(meeting: Meeting, pool: ThreadPoolExecutor, *, restarts: int = 1) -> tuple[Any, ...]:
    """Two agents of one gang; the first is at the barrier."""
    first, second = (Agent(meeting.handler(2, 3), restarts) for _ in range(2))
    runs = [pool.submit(agent.run) for agent in (first, second)]
    until(lambda: first.gangs == second.gangs == 1)
    first.ends.append(WorkerState.SUCCEEDED)
    until(lambda: first.waits)
    return first, second, *runs


def test_a_host_waits_for_another_for_longer_than_a_barrier_lasts(
    meeting: Meeting, pool: ThreadPoolExecutor
) -> None:
    first, second, end, last = begin(meeting, pool)
    assert not wait([end], 5 * SHORT).done
    second.ends.append(WorkerState.SUCCEEDED)
    assert end.result(30).state is last.result(30).state is WorkerState.SUCCEEDED
    assert (first.gangs, second.gangs) == (1, 1)


def test_who_comes_when_workers_have_ended_well_is_not_taken_in(
    meeting: Meeting, pool: ThreadPoolExecutor
) -> None:
    first, second, end, last = begin(meeting, pool)
    late = meeting.handler(2, 3)
    comes = pool.submit(late.next_rendezvous)
    until(lambda: len(late._state_holder.read().members) == 3)
    assert not wait([end], 5 * SHORT).done
    second.ends.append(WorkerState.SUCCEEDED)
    assert end.result(30).state is last.result(30).state is WorkerState.SUCCEEDED
    assert (first.gangs, second.gangs) == (1, 1)
    late.set_closed()
    assert isinstance(comes.exception(30), RendezvousClosedError)


def test_workers_that_are_done_run_again_with_those_of_a_host_that_fails(
    meeting: Meeting, pool: ThreadPoolExecutor
) -> None:
    first, second, end, last = begin(meeting, pool)
    second.ends.append(WorkerState.FAILED)
    until(lambda: first.gangs == second.gangs == 2)
    for agent in (first, second):
        agent.ends.append(WorkerState.SUCCEEDED)
    assert end.result(30).state is last.result(30).state is WorkerState.SUCCEEDED
    assert first._remaining_restarts == 1  # another's failure is no retry of its own


@pytest.mark.parametrize(
    ("said", "counts"), [("ConnectionResetError: by peer", False), ("ValueError: x", True)]
)
def test_who_only_misses_the_workers_of_a_host_that_has_left_has_not_failed(
    meeting: Meeting, pool: ThreadPoolExecutor, said: str, counts: bool
) -> None:
    handlers = [meeting.handler(1, 2, last_call=20) for _ in range(2)]
    stays, leaves = (Agent(handler, restarts=0) for handler in handlers)
    for agent in (stays, leaves):
        agent.news.clear()
    run, other = pool.submit(stays.run), pool.submit(leaves.run)
    until(lambda: stays.gangs == leaves.gangs == 1)
    evidence = Evidence(last_lines=(said,))
    stays.failures = {0: ProcessFailure(0, 7, 1, "", evidence=evidence)}
    assert handlers[1].leave()
    leaves.over.set()
    leaves.news.set()
    assert other.exception(30)
    stays.ends.append(WorkerState.FAILED)
    stays.news.set()
    if not counts:
        until(lambda: stays.gangs == 2)
        stays.ends.append(WorkerState.SUCCEEDED)
    assert run.result(30).state is (WorkerState.FAILED if counts else WorkerState.SUCCEEDED)
    assert stays.gangs == (1 if counts else 2)


def test_a_host_that_is_done_learns_that_another_has_failed_for_good(
    meeting: Meeting, pool: ThreadPoolExecutor
) -> None:
    first, second, end, last = begin(meeting, pool, restarts=0)
    second.ends.append(WorkerState.FAILED)
    assert last.result(30).state is WorkerState.FAILED
    second.get_worker_group().spec.rdzv_handler.set_failed("rank 1 (exit code 7)")
    with pytest.raises(RendezvousClosedError, match=r"rank 1 \(exit code 7\)"):
        end.result(30)
    assert first.gangs == 1


def test_who_wants_no_barrier_has_none(
    meeting: Meeting, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.unit.test_exit_barrier.SHORT", 0)
    _, second, end, last = begin(meeting, pool)
    assert end.result(30).state is WorkerState.SUCCEEDED
    second.ends.append(WorkerState.SUCCEEDED)
    assert last.result(30).state is WorkerState.SUCCEEDED


def test_by_a_handler_that_does_not_know_who_lives_it_waits_for_so_long(
    meeting: Meeting, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procession.rendezvous.handler.DynamicRendezvousHandler.kill_at_ns", 0)
    _, second, end, last = begin(meeting, pool)
    assert end.result(30).state is WorkerState.SUCCEEDED
    second.ends.append(WorkerState.SUCCEEDED)
    assert last.result(30).state is WorkerState.SUCCEEDED
