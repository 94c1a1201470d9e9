"""What an agent is, and what agents of one role share: meet, start, watch, restart."""

from __future__ import annotations

import abc
import os
import signal
import threading
import time
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from procession._log import Logger
from procession.agent.server import ranks, telling
from procession.agent.server.restarts import Restarts, only_misses_peers
from procession.agent.server.workers import (
    RunResult,
    Worker,
    WorkerGroup,
    WorkerSpec,
    WorkerState,
)
from procession.errors import ProcessionError, RendezvousGracefulExitError, RoundOverError
from procession.events import EventSource, record
from procession.metrics import prof, put_metric
from procession.multiprocessing import SignalException
from procession.rendezvous.store import WatchedStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from procession._restarts.policy import RestartPolicy
    from procession.events import Event
    from procession.rendezvous import RendezvousInfo

__all__ = [
    "DEFAULT_ROLE",
    "ElasticAgent",
    "RunResult",
    "SimpleElasticAgent",
    "Worker",
    "WorkerGroup",
    "WorkerSpec",
    "WorkerState",
]

DEFAULT_ROLE = "default"

_BARRIER_LOOK = 5.0  # seconds between two looks at the other hosts, once workers are done

logger = Logger(__name__)


class ElasticAgent(abc.ABC):
    """Who looks after the workers of a host."""

    @abc.abstractmethod
    def run(self, role: str = DEFAULT_ROLE) -> RunResult:
        """Have the workers run, and again after failures as often as may be.

        Args:
            role: Which workers, where an agent has several kinds.

        Returns:
            What came of them.

        Raises:
            Exception: What is not a worker's failure.
        """

    @abc.abstractmethod
    def get_worker_group(self, role: str = DEFAULT_ROLE) -> WorkerGroup:
        """Return the workers of a role."""


class SimpleElasticAgent(ElasticAgent):
    """An agent for workers of one kind; a subclass says how they are started, watched and stopped.

    Args:
        spec: What the workers are to be.
        exit_barrier_timeout: Seconds for which an agent whose workers are done waits for the others, in a
            gang of several hosts; not counted where the handler knows that all of them live.
        shutdown_timeout: Seconds between SIGTERM and SIGKILL.
        restarts: After which failures workers are started again, and when; torch's way, after all and
            at once, where None.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        exit_barrier_timeout: float = 300,
        shutdown_timeout: int = 30,
        restarts: RestartPolicy | None = None,
    ) -> None:
        self._worker_group = WorkerGroup(spec)
        self._remaining_restarts = spec.max_restarts
        self._exit_barrier_timeout = exit_barrier_timeout
        self._shutdown_timeout = shutdown_timeout
        self._total_execution_time = 0  # seconds
        self._restarts = Restarts(restarts, spec.max_restarts)
        self._store: Any = None  # of the round; the exit barrier is there
        self._in_exit_barrier = False

    def get_worker_group(self, role: str = DEFAULT_ROLE) -> WorkerGroup:  # noqa: ARG002
        """Return the workers."""
        return self._worker_group

    @abc.abstractmethod
    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:
        """Start the workers; return their ids by local rank."""

    @abc.abstractmethod
    def _stop_workers(self, worker_group: WorkerGroup) -> None:
        """Stop the workers, in whatever state they are."""

    @abc.abstractmethod
    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        """Look how the workers are."""

    @abc.abstractmethod
    def _shutdown(self, death_sig: signal.Signals = signal.SIGTERM, timeout: int = 30) -> None:
        """Let go of everything; workers get ``death_sig``, and SIGKILL after ``timeout`` seconds."""

    def _wait_for_news(self, seconds: float) -> None:
        """Sleep until the workers may be worth a look; a subclass may know better than the clock."""
        threading.Event().wait(seconds)

    def _rest(self, seconds: float) -> None:
        """Let time pass before another attempt; no worker runs."""
        threading.Event().wait(seconds)

    @prof
    def run(self, role: str = DEFAULT_ROLE) -> RunResult:
        """Have the workers run, and again after failures as often as may be.

        Raises:
            SignalException: A signal ended it; the workers are gone.
            RendezvousError: The hosts could not come together.
            ProcessionError: Workers could not be started.
        """
        began, death_sig = time.monotonic(), signal.SIGTERM
        try:
            return self._told(self._invoke_run(role), began)
        except RendezvousGracefulExitError as error:
            logger.info("this host is not needed: %s", error)
            return RunResult(WorkerState.SUCCEEDED)
        except SignalException as stop:
            death_sig = stop.sigval
            raise
        finally:
            self._total_execution_time = int(time.monotonic() - began)
            self._shutdown(death_sig, timeout=self._shutdown_timeout)

    def get_event_failed(self) -> Event:
        """The event that tells of the exception at hand."""
        context = self._context()
        trace = traceback.format_exc()
        return telling.make_event(context, "FAILED", EventSource.AGENT, raw_error=trace)

    def get_event_succeeded(self) -> Event:
        """The event that tells of an agent that has done its work."""
        return telling.make_event(self._context(), "SUCCEEDED", EventSource.AGENT)

    @contextmanager
    def record_duration(self, state: str) -> Iterator[None]:
        """Tell how long the body took, as an event of that name."""
        began = time.perf_counter()
        try:
            yield
        finally:
            event = telling.make_event(
                self._context(),
                state,
                EventSource.AGENT,
                duration_ms=(time.perf_counter() - began) * 1000,
            )
            record(event, self._worker_group.spec.event_log_handler)

    # ---- inside

    def _told(self, result: RunResult, began: float) -> RunResult:
        """Tell of the end, and hand the result on."""
        self._total_execution_time = int(time.monotonic() - began)
        self._record_metrics(result)
        self._record_worker_events(result)
        return result

    def _record_metrics(self, group_results: RunResult) -> None:
        telling.record_metrics(self._worker_group.spec, group_results, self._remaining_restarts)

    def _record_worker_events(self, result: RunResult) -> None:
        for event in telling.worker_events(self._context(), result):
            record(event, self._worker_group.spec.event_log_handler)

    def _context(self) -> telling.Context:
        restarts = self._worker_group.spec.max_restarts - self._remaining_restarts
        return telling.Context(self._worker_group, restarts, self._total_execution_time)

    def _invoke_run(self, role: str = DEFAULT_ROLE) -> RunResult:  # noqa: ARG002
        group, spec = self._worker_group, self._worker_group.spec
        self._initialize_workers(group)
        while True:
            self._wait_for_news(spec.monitor_interval)
            result = self._monitor_workers(group)
            group.state = result.state
            put_metric(f"workers.{spec.role}.remaining_restarts", self._remaining_restarts)
            put_metric(f"workers.{spec.role}.{result.state.name.lower()}", 1)
            if self._is_last(result):
                return result

    def _is_last(self, result: RunResult) -> bool:
        """Do about the workers what their state asks for; whether that was all."""
        group = self._worker_group
        if result.state is WorkerState.SUCCEEDED:
            if self._exit_barrier() is not False:
                return True
            self._in_exit_barrier = False
            self._restart_workers(group)  # another host's failure is no retry of this one
        elif result.state in {WorkerState.FAILED, WorkerState.UNHEALTHY}:
            return not self._starts_again(result)
        elif result.state is not WorkerState.HEALTHY:
            raise ProcessionError(f"the workers of {group.spec.role} are in state {result.state}")
        elif group.spec.rdzv_handler.num_nodes_waiting() > 0:
            self._restart_workers(group)  # to take hosts in is no retry
        return False

    def _starts_again(self, result: RunResult) -> bool:
        """Start workers that have failed again, if that may be."""
        group = self._worker_group
        if not self._peers_went(result):
            pause = self._restarts.after(result)
            if pause is None:
                self._stop_workers(group)
                group.state = WorkerState.FAILED
                return False
            self._remaining_restarts = self._restarts.remaining
            if pause:
                self._stop_workers(group)
                self._rest(pause)
        self._restart_workers(group)
        return True

    def _peers_went(self, result: RunResult) -> bool:
        """Whether they only miss workers of other hosts, whose gang is known to be over: that is no retry."""
        handler = self._worker_group.spec.rdzv_handler
        if getattr(handler, "kill_at_ns", 0) <= 0 or not only_misses_peers(result):
            return False
        return handler.num_nodes_waiting() > 0 and not handler.is_closed()  # closed stays so

    @prof
    def _initialize_workers(self, worker_group: WorkerGroup) -> None:
        self._rendezvous(worker_group)
        for local_rank, worker_id in self._start_workers(worker_group).items():
            worker = worker_group.workers[local_rank]
            worker.id = worker_id
            event = telling.make_event(self._context(), "START", EventSource.WORKER, worker=worker)
            record(event, worker_group.spec.event_log_handler)
        worker_group.state = WorkerState.HEALTHY

    @prof
    def _restart_workers(self, worker_group: WorkerGroup) -> None:
        self._stop_workers(worker_group)
        worker_group.state = WorkerState.STOPPED
        self._initialize_workers(worker_group)

    @prof
    def _rendezvous(self, worker_group: WorkerGroup) -> None:
        found = self._met(worker_group)
        while found is None:  # a host was lost meanwhile
            found = self._met(worker_group)
        spec, where = worker_group.spec, found.bootstrap_store_info
        worker_group.store = found.store
        worker_group.group_rank = found.rank
        worker_group.group_world_size = found.world_size
        worker_group.master_addr = spec.master_addr or (where.master_addr if where else None)
        worker_group.master_port = spec.master_port or (where.master_port if where else None)

    def _met(self, worker_group: WorkerGroup) -> RendezvousInfo | None:
        """Meet the other hosts, and number the workers; None where that gang is over before all know theirs."""
        spec = worker_group.spec
        handler = spec.rdzv_handler
        with self.record_duration("RENDEZVOUS"):
            found = handler.next_rendezvous()
        store = self._store = found.store
        if getattr(handler, "kill_at_ns", 0) > 0:  # it knows who lives; a handler may be torch's
            store = WatchedStore(store, lambda: handler.num_nodes_waiting() > 0)
        try:
            with self.record_duration("ASSIGN_WORKER_RANKS"):
                worker_group.workers = self._assign_worker_ranks(
                    store, found.rank, found.world_size, spec
                )
        except RoundOverError as error:
            logger.info("%s", error)
            return None
        return found

    def _assign_worker_ranks(
        self, store: Any, group_rank: int, group_world_size: int, spec: WorkerSpec
    ) -> list[Worker]:
        own = ranks.HostRole(spec.role, spec.local_world_size)
        if os.environ.get("TORCH_ELASTIC_WORKER_IDENTICAL") == "1":
            found = ranks.assign([own] * group_world_size)[group_rank]
        else:
            found = ranks.agree(store, group_rank, group_world_size, own)
        return [
            Worker(
                local_rank=local,
                global_rank=found.first + local,
                role_rank=found.first_of_role + local,
                world_size=found.world_size,
                role_world_size=found.role_world_size,
            )
            for local in range(spec.local_world_size)
        ]

    def _exit_barrier(self) -> bool:
        """Wait until the workers of all hosts are done: the store may live in one of the agents.

        As long as the handler knows that all hosts live, no time is counted.

        Returns:
            False where the gang is over otherwise, as the handler says: its workers have to run again.
        """
        group, handler = self._worker_group, self._worker_group.spec.rdzv_handler
        size = group.group_world_size or 1
        self._in_exit_barrier = True
        if size == 1:
            return True
        try:
            if hasattr(handler, "set_succeeded"):  # a handler may be torch's
                handler.set_succeeded()
            ranks.arrive(self._store, size)
            return self._outwaits(handler)
        except SignalException:
            raise
        except Exception as error:  # noqa: BLE001  (whatever a store raises: the work is done)
            logger.warning("it is not known whether all hosts are done: %s", error)
            return True

    def _outwaits(self, handler: Any) -> bool:
        """Whether all hosts have come to the barrier, or not in time; False where the gang is over."""
        timeout = self._exit_barrier_timeout
        deadline = time.monotonic() + timeout
        while not ranks.have_all_arrived(self._store, min(timeout, _BARRIER_LOOK)):
            if timeout > 0 and getattr(handler, "kill_at_ns", 0) > 0:  # it knows who lives
                if handler.num_nodes_waiting() > 0:
                    return False
            elif time.monotonic() >= deadline:
                logger.warning("not all hosts were done within %g s", timeout)
                return True
        return True
