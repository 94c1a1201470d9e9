"""The agent whose workers are processes of its own host."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from procession._log import Logger
from procession._loop.gate import SignalGate
from procession.agent.server import telling
from procession.agent.server.api import SimpleElasticAgent
from procession.agent.server.health_check_server import create_healthcheck_server
from procession.agent.server.wedged import (
    TORCHELASTIC_UNINTERRUPTIBLE_STATE_TIMEOUT,
    Wedged,
    as_failure,
    patience,
)
from procession.agent.server.workers import RunResult, WorkerState
from procession.errors import GuardianLostError, UsageError
from procession.events import record
from procession.metrics import prof
from procession.multiprocessing import Supervision, start_processes
from procession.multiprocessing.supervision import signal_exception, signal_numbers

if TYPE_CHECKING:
    from procession._restarts.policy import RestartPolicy
    from procession.agent.server.watchdog import Watchdog
    from procession.agent.server.workers import Worker, WorkerGroup, WorkerSpec
    from procession.multiprocessing import LogsSpecs, PContext, RunProcsResult
    from procession.timer import FileTimerRequest

__all__ = [
    "TORCHELASTIC_ENABLE_FILE_TIMER",
    "TORCHELASTIC_HEALTH_CHECK_PORT",
    "TORCHELASTIC_TIMER_FILE",
    "TORCHELASTIC_UNINTERRUPTIBLE_STATE_TIMEOUT",
    "LocalElasticAgent",
]

TORCHELASTIC_ENABLE_FILE_TIMER = "TORCHELASTIC_ENABLE_FILE_TIMER"
TORCHELASTIC_HEALTH_CHECK_PORT = "TORCHELASTIC_HEALTH_CHECK_PORT"
TORCHELASTIC_TIMER_FILE = "TORCHELASTIC_TIMER_FILE"

_NCCL = "TORCH_NCCL_ASYNC_ERROR_HANDLING"
_LOCAL_RANK = "${local_rank}"
_HEALTH_TIMEOUT = 60  # torch's, seconds

logger = Logger(__name__)


class LocalElasticAgent(SimpleElasticAgent):
    """An agent whose workers are processes of its own host.

    Args:
        spec: What the workers are to be; ``${local_rank}`` in an argument becomes theirs.
        logs_specs: Where their output goes.
        start_method: ``spawn``, ``fork`` or ``forkserver``, for functions.
        exit_barrier_timeout: Seconds for which an agent whose workers are done waits for the others.
        log_line_prefix_template: The head of each teed line: ``${role_name}``, ``${rank}`` and
            ``${local_rank}`` are filled in.
        shutdown_timeout: Seconds between SIGTERM and SIGKILL, on every path.
        health_check_server: Has ``stop()``, which is called at the end; one that
            TORCHELASTIC_HEALTH_CHECK_PORT asks for is made beside the workers.
        uninterruptible_state_timeout: Seconds that a worker may be in uninterruptible sleep; then all are
            ended, and not started again. TORCHELASTIC_UNINTERRUPTIBLE_STATE_TIMEOUT where None; 0 for ever.
        supervision: Signals and what else is not torch's; ``shutdown_timeout`` wins over its own.
        restarts: As of ``SimpleElasticAgent``.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        logs_specs: LogsSpecs,
        start_method: str = "spawn",
        exit_barrier_timeout: float = 300,
        log_line_prefix_template: str | None = None,
        shutdown_timeout: int = 30,
        health_check_server: Any = None,
        uninterruptible_state_timeout: float | None = None,
        supervision: Supervision | None = None,
        restarts: RestartPolicy | None = None,
    ) -> None:
        super().__init__(spec, exit_barrier_timeout, shutdown_timeout, restarts)
        self._wedged = Wedged(patience(uninterruptible_state_timeout, os.environ))
        self._logs_specs = logs_specs
        self._start_method = start_method
        self._log_line_prefix_template = log_line_prefix_template
        self._health_check_server = health_check_server
        supervision = supervision or Supervision.from_environment()
        self._supervision = replace(
            supervision,
            shutdown_timeout=float(shutdown_timeout),
            until=lambda: getattr(spec.rdzv_handler, "kill_at_ns", 0),  # a handler may be torch's
        )
        self._pcontext: PContext | None = None
        self._worker_watchdog: Watchdog | None = None

    def _wait_for_news(self, seconds: float) -> None:
        """Sleep until a worker has ended; no longer than ``seconds`` where hosts may want to join."""
        if self._pcontext is not None:
            handler = self._worker_group.spec.rdzv_handler
            alone = getattr(handler, "nobody_can_join", False) and not self._wedged.seconds
            self._wait(-1 if alone else seconds)

    def _rest(self, seconds: float) -> None:
        """Let time pass; a signal that ends a gang ends this too."""
        gate = SignalGate(signal_exception, lambda _: None)
        gate.install(signal_numbers(self._supervision.signals_to_handle), ())
        try:
            gate.rest(seconds)
        finally:
            gate.restore()

    @prof
    def _stop_workers(self, worker_group: WorkerGroup) -> None:  # noqa: ARG002
        self._shutdown(timeout=self._shutdown_timeout)

    @prof
    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:
        spec, workers = worker_group.spec, worker_group.workers
        envs = {worker.local_rank: self._environment(worker) for worker in workers}
        self._setup_local_watchdog(envs=envs)
        self._setup_healthcheck()
        self._pcontext = start_processes(
            name=spec.role,
            entrypoint=spec.entrypoint or "",
            args={worker.local_rank: _arguments(spec, worker) for worker in workers},
            envs=envs,
            logs_specs=self._logs_specs,
            log_line_prefixes=self._prefixes(workers),
            start_method=self._start_method,
            numa_options=spec.numa_options,
            duplicate_stdout_filters=spec.duplicate_stdout_filters,
            duplicate_stderr_filters=spec.duplicate_stderr_filters,
            supervision=self._supervision,
        )
        return dict(self._pcontext.pids())

    @prof
    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        result = self._wait(0)
        if result is None:
            return self._unless_wedged(worker_group)
        ranks = {worker.local_rank: worker.global_rank for worker in worker_group.workers}
        failures = {ranks[local]: failure for local, failure in result.failures.items()}
        stopped = {ranks[local]: failure for local, failure in result.stopped.items()}
        if result.is_failed():
            if self._worker_watchdog is not None:
                self._worker_watchdog.explain(failures.values())
            return RunResult(WorkerState.FAILED, failures=failures, stopped=stopped)
        values = {ranks[local]: value for local, value in result.return_values.items()}
        return RunResult(WorkerState.SUCCEEDED, return_values=values)

    def _unless_wedged(self, worker_group: WorkerGroup) -> RunResult:
        """Healthy, unless a worker sleeps for too long: it holds what one in its place would need."""
        pids = self._pcontext.pids() if self._pcontext is not None else {}
        words = self._wedged.look(pids.values())
        if not words:
            return RunResult(WorkerState.HEALTHY)
        self._restarts.give_up()
        self._shutdown(timeout=self._shutdown_timeout)
        ended = self._wait(0)
        stopped = {**ended.failures, **ended.stopped} if ended is not None else {}
        ranks = {worker.local_rank: worker.global_rank for worker in worker_group.workers}
        failures = {
            ranks[local]: as_failure(local, pid, words[pid], stopped.get(local))
            for local, pid in pids.items()
            if pid in words
        }
        others = {ranks[local]: each for local, each in stopped.items() if pids[local] not in words}
        return RunResult(WorkerState.UNHEALTHY, failures=failures, stopped=others)

    def _wait(self, seconds: float) -> RunProcsResult | None:
        try:
            return self._pcontext.wait(seconds) if self._pcontext is not None else None
        except GuardianLostError:
            # It ends by itself where this host has lost touch with the others: the handler says so.
            self._worker_group.spec.rdzv_handler.num_nodes_waiting()
            raise

    def _shutdown(self, death_sig: signal.Signals = signal.SIGTERM, timeout: int = 30) -> None:
        if self._worker_watchdog is not None:
            self._worker_watchdog.stop()
            self._worker_watchdog = None
        if self._health_check_server is not None:
            self._health_check_server.stop()
            self._health_check_server = None
        if self._pcontext is not None:
            self._pcontext.close(death_sig, timeout)

    # ---- beside the workers

    def _setup_local_watchdog(self, envs: dict[int, dict[str, str]]) -> None:
        """Have workers ended whose timers run out, if that is asked for; see ``procession.timer``."""
        if os.environ.keys().isdisjoint((TORCHELASTIC_ENABLE_FILE_TIMER, TORCHELASTIC_TIMER_FILE)):
            return
        from procession.agent.server.watchdog import Watchdog, pipe_path

        enabled, path = pipe_path(os.environ)
        if enabled and path is not None:
            run_id = self._worker_group.spec.rdzv_handler.get_run_id()
            self._worker_watchdog = Watchdog(path, run_id, self._log_watchdog_event)
            self._worker_watchdog.start()
        if path is not None:
            for environment in envs.values():
                environment[TORCHELASTIC_TIMER_FILE] = path

    def _setup_healthcheck(self) -> None:
        port = os.environ.get(TORCHELASTIC_HEALTH_CHECK_PORT)
        if port is None or self._health_check_server is not None:
            return
        if not port.isdigit():
            logger.warning(
                "%s=%s is no port: no health check server", TORCHELASTIC_HEALTH_CHECK_PORT, port
            )
            return
        self._health_check_server = create_healthcheck_server(
            alive_callback=self._get_alive_time, port=int(port), timeout=_HEALTH_TIMEOUT
        )
        self._health_check_server.start()

    def _get_alive_time(self) -> int:
        """When this agent last made progress, in seconds since the epoch."""
        watchdog = self._worker_watchdog
        if watchdog is None or self._in_exit_barrier:
            return int(time.time())
        return watchdog.get_last_progress_time()

    def _log_watchdog_event(self, name: str, request: FileTimerRequest | None) -> None:
        event = telling.watchdog_event(self._context(), name, request)
        record(event, self._worker_group.spec.event_log_handler)

    def _prefixes(self, workers: list[Worker]) -> dict[int, str] | None:
        if not self._log_line_prefix_template:
            return None
        from string import Template

        template, role = Template(self._log_line_prefix_template), self._worker_group.spec.role
        return {
            worker.local_rank: template.safe_substitute(
                role_name=role, rank=worker.global_rank, local_rank=worker.local_rank
            )
            for worker in workers
        }

    def _environment(self, worker: Worker) -> dict[str, str]:
        """What torch gives a worker."""
        group, spec = self._worker_group, self._worker_group.spec
        values = {
            "RANK": worker.global_rank,
            "GROUP_RANK": group.group_rank,
            "ROLE_RANK": worker.role_rank,
            "ROLE_NAME": spec.role,
            "LOCAL_WORLD_SIZE": spec.local_world_size,
            "WORLD_SIZE": worker.world_size,
            "GROUP_WORLD_SIZE": group.group_world_size,
            "ROLE_WORLD_SIZE": worker.role_world_size,
            "MASTER_ADDR": group.master_addr,
            "MASTER_PORT": group.master_port,
            "TORCHELASTIC_RESTART_COUNT": spec.max_restarts - self._remaining_restarts,
            "TORCHELASTIC_MAX_RESTARTS": spec.max_restarts,
            "TORCHELASTIC_RUN_ID": spec.rdzv_handler.get_run_id(),
            "TORCHELASTIC_USE_AGENT_STORE": spec.rdzv_handler.use_agent_store,
            _NCCL: os.environ.get(_NCCL, "1"),
            **_device(spec, worker.local_rank),
        }
        return {name: str(value) for name, value in values.items()}


def _arguments(spec: WorkerSpec, worker: Worker) -> tuple[Any, ...]:
    rank = str(worker.local_rank)
    return tuple(
        word.replace(_LOCAL_RANK, rank) if isinstance(word, str) else word for word in spec.args
    )


def _device(spec: WorkerSpec, local_rank: int) -> dict[str, str]:
    """LOCAL_RANK, and with ``virtual_local_rank`` the one device that the worker sees.

    Raises:
        UsageError: There are fewer visible devices than workers.
    """
    if not spec.virtual_local_rank:
        return {"LOCAL_RANK": str(local_rank)}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = [str(local_rank)] * (local_rank + 1) if visible is None else visible.split(",")
    if local_rank >= len(devices):
        raise UsageError(
            f"virtual_local_rank: CUDA_VISIBLE_DEVICES={visible} names {len(devices)} devices, and "
            f"local_world_size is {spec.local_world_size}"
        )
    return {"LOCAL_RANK": "0", "CUDA_VISIBLE_DEVICES": devices[local_rank].strip()}
