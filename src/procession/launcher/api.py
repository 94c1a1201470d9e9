"""``elastic_launch``: workers of one host, or of several that meet, in a call."""

from __future__ import annotations

import os
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from procession import events, metrics
from procession._log import Logger
from procession._report.weight import PEER_LOST, weight
from procession._report.words import exit_name, ranks_text
from procession.agent.server import LocalElasticAgent, RestartPolicy, RunResult, WorkerSpec
from procession.errors import (
    RendezvousConnectionError,
    RendezvousError,
    RendezvousTimeoutError,
    UsageError,
)
from procession.multiprocessing import DefaultLogsSpecs, SignalException, Supervision
from procession.multiprocessing.errors import ChildFailedError
from procession.rendezvous import RendezvousParameters
from procession.rendezvous.registry import get_rendezvous_handler
from procession.rendezvous.utils import parse_rendezvous_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from procession.multiprocessing import LogsSpecs
    from procession.numa.binding import NumaOptions

__all__ = ["LaunchConfig", "RestartPolicy", "elastic_launch", "launch_agent"]

_DEFAULT_TIMEOUT = 900  # torch's, seconds
_FOR_THE_CAUSE = 5.0  # seconds that a host whose workers only miss a peer leaves to that one's
_LOOK = 0.1

# What ends this host's part alone: the others may go on without it, or meet without it.
_LEAVING = (SignalException, RendezvousConnectionError, RendezvousTimeoutError)

logger = Logger(__name__)


@dataclass
class LaunchConfig:
    """What is to be launched, and how.

    Args:
        min_nodes: The least number of hosts.
        max_nodes: The greatest; with 1 nobody has to be met, whatever ``rdzv_backend`` is.
        nproc_per_node: Workers of this host.
        logs_specs: Where output goes; ``DefaultLogsSpecs()`` where None.
        run_id: The run's id; a random one where empty.
        role: Name of the workers.
        rdzv_endpoint: Where hosts meet.
        rdzv_backend: The kind of rendezvous.
        rdzv_configs: Its settings.
        rdzv_timeout: Deprecated by torch for ``rdzv_configs["timeout"]``, seconds; -1 for unset.
        max_restarts: How often workers may be started again after a failure.
        monitor_interval: Seconds between two looks for hosts that wait to join.
        start_method: ``spawn``, ``fork`` or ``forkserver``, for functions.
        log_line_prefix_template: The head of each teed line.
        metrics_cfg: Handed to ``metrics.initialize_metrics``.
        local_addr: Address of this host.
        event_log_handler: Where events go, see ``procession.events``.
        numa_options: Binding to CPUs.
        signals_to_handle: Signals to this process that end the run.
        duplicate_stdout_filters: Teed stdout lines with one of these strings are copied.
        duplicate_stderr_filters: The same for stderr.
        virtual_local_rank: LOCAL_RANK is 0 everywhere, and each worker sees its own GPU alone.
        shutdown_timeout: Seconds between SIGTERM and SIGKILL; TORCH_ELASTIC_SHUTDOWN_TIMEOUT, else
            30, where None.
        restarts: procession's own: after which failures workers are started again, and when; torch's
            way, after all and at once, where None.

    Raises:
        UsageError: ``shutdown_timeout`` is negative. (A ``ValueError``.)
    """

    min_nodes: int
    max_nodes: int
    nproc_per_node: int
    logs_specs: LogsSpecs | None = None
    run_id: str = ""
    role: str = "default_role"
    rdzv_endpoint: str = ""
    rdzv_backend: str = "etcd"
    rdzv_configs: dict[str, Any] = field(default_factory=dict)
    rdzv_timeout: int = -1
    max_restarts: int = 3
    monitor_interval: float = 0.1
    start_method: str = "spawn"
    log_line_prefix_template: str | None = None
    metrics_cfg: dict[str, str] = field(default_factory=dict)
    local_addr: str | None = None
    event_log_handler: str = "null"
    numa_options: NumaOptions | None = None
    signals_to_handle: str = "SIGTERM,SIGINT,SIGHUP,SIGQUIT"
    duplicate_stdout_filters: list[str] | None = None
    duplicate_stderr_filters: list[str] | None = None
    virtual_local_rank: bool = False
    shutdown_timeout: int | None = None
    restarts: RestartPolicy | None = None

    def __post_init__(self) -> None:
        if self.rdzv_timeout != -1:
            self.rdzv_configs["timeout"] = self.rdzv_timeout
        self.rdzv_configs.setdefault("timeout", _DEFAULT_TIMEOUT)
        if self.logs_specs is None:
            self.logs_specs = DefaultLogsSpecs()
        if self.shutdown_timeout is None:
            self.shutdown_timeout = int(os.environ.get("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "30"))
        elif self.shutdown_timeout < 0:
            raise UsageError(f"shutdown_timeout is {self.shutdown_timeout}: give 0 or more seconds")


class elastic_launch:  # noqa: N801 - torch's name
    """Launch a function or a program, with its arguments in a call.

    Args:
        config: How.
        entrypoint: A function, or a program.
        health_check_server: Has ``stop()``, which is called at the end.

    Example:
        ::

            outputs = elastic_launch(LaunchConfig(1, 1, nproc_per_node=4), train)(learning_rate)
            outputs[0]  # what rank 0 returned
            elastic_launch(config, "python")("train.py", "--lr", "0.1")
    """

    def __init__(
        self,
        config: LaunchConfig,
        entrypoint: Callable[..., Any] | str | None,
        health_check_server: Any = None,
    ) -> None:
        self._config = config
        self._entrypoint = entrypoint
        self._health_check_server = health_check_server

    def __call__(self, *args: Any) -> dict[int, Any]:
        """Launch it with these arguments; see ``launch_agent``."""
        return launch_agent(
            self._config,
            self._entrypoint,
            list(args),
            health_check_server=self._health_check_server,
        )


def launch_agent(
    config: LaunchConfig,
    entrypoint: Callable[..., Any] | str | None,
    args: list[Any],
    health_check_server: Any = None,
) -> dict[int, Any]:
    """Run workers to their end.

    Args:
        config: How.
        entrypoint: A function, or a program.
        args: What it is given.
        health_check_server: Has ``stop()``, which is called at the end.

    Returns:
        What the functions of this host's workers returned, by global rank.

    Raises:
        ChildFailedError: Workers failed at the last attempt.
        SignalException: A signal ended it; the workers are gone.
        RendezvousError: The hosts could not come together.
        ProcessionError: Workers could not be started.
    """
    config.run_id = config.run_id or str(uuid.uuid4().int)
    name = _name(entrypoint, args)
    metrics.initialize_metrics(metrics.MetricsConfig(config.metrics_cfg))
    spec = _spec(config, entrypoint, args)
    agent = _agent(config, spec, health_check_server)
    leaves = False
    try:
        result = agent.run()
        hosts = agent.get_worker_group().group_world_size or 1
        before = _tell_the_others(spec.rdzv_handler, result, hosts) if _has_failed(result) else ""
        events.record(agent.get_event_succeeded(), config.event_log_handler)
        return _values(name, result, before)
    except ChildFailedError:
        raise
    except Exception as error:
        leaves = isinstance(error, _LEAVING)
        events.record(agent.get_event_failed(), config.event_log_handler)
        raise
    finally:
        _let_go(spec.rdzv_handler, leaves=leaves)


def _let_go(handler: Any, *, leaves: bool) -> None:
    """Have no further gang; or go, and leave it to the others."""
    if not leaves:
        handler.shutdown()
        return
    leave = getattr(handler, "leave", None)  # a handler may be torch's
    if leave is not None:
        leave()


def _tell_the_others(handler: Any, result: RunResult, hosts: int) -> str:
    """Have the other hosts stop, where the handler knows how (one of torch's does not); what had failed before."""
    tell = getattr(handler, "set_failed", None)
    if tell is None:
        return ""
    first = ChildFailedError("", result.failures).report().failures[0]
    try:
        if hosts > 1 and weight(first) == PEER_LOST:
            _let_the_cause_speak(handler)
        return str(tell(f"{ranks_text([first.rank])} ({exit_name(first.exitcode)})") or "")
    except RendezvousError as error:
        logger.warning("the other hosts could not be told: %s", error)
        return ""


def _let_the_cause_speak(handler: Any) -> None:
    """Wait for the host whose worker went first: the first failure told is the one that all hosts name."""
    deadline, pause = time.monotonic() + _FOR_THE_CAUSE, threading.Event()
    while not handler.is_closed() and time.monotonic() < deadline:
        pause.wait(_LOOK)


def _has_failed(result: RunResult) -> bool:
    """Also where workers were unhealthy to the end, which torch takes for a success."""
    return result.is_failed() or bool(result.failures)


def _values(name: str, result: RunResult, before: str) -> dict[int, Any]:
    if _has_failed(result):
        notes = (f"the run had failed before {before}",) if before else ()
        raise ChildFailedError(name, result.failures, result.stopped, notes=notes)
    return result.return_values


def _spec(
    config: LaunchConfig, entrypoint: Callable[..., Any] | str | None, args: list[Any]
) -> WorkerSpec:
    parameters = RendezvousParameters(
        backend=config.rdzv_backend,
        endpoint=config.rdzv_endpoint,
        run_id=config.run_id,
        min_nodes=config.min_nodes,
        max_nodes=config.max_nodes,
        local_addr=config.local_addr,
        **config.rdzv_configs,
    )
    address, port = _given_address(parameters)
    return WorkerSpec(
        role=config.role,
        local_world_size=config.nproc_per_node,
        entrypoint=entrypoint,
        args=tuple(args),
        rdzv_handler=get_rendezvous_handler(parameters),
        max_restarts=config.max_restarts,
        monitor_interval=config.monitor_interval,
        master_addr=address,
        master_port=port,
        local_addr=config.local_addr,
        event_log_handler=config.event_log_handler,
        numa_options=config.numa_options,
        duplicate_stdout_filters=config.duplicate_stdout_filters,
        duplicate_stderr_filters=config.duplicate_stderr_filters,
        virtual_local_rank=config.virtual_local_rank,
    )


def _agent(config: LaunchConfig, spec: WorkerSpec, health_check_server: Any) -> LocalElasticAgent:
    signals = tuple(name.strip() for name in config.signals_to_handle.split(",") if name.strip())
    return LocalElasticAgent(
        spec=spec,
        logs_specs=config.logs_specs or DefaultLogsSpecs(),
        start_method=config.start_method,
        log_line_prefix_template=config.log_line_prefix_template,
        shutdown_timeout=30 if config.shutdown_timeout is None else config.shutdown_timeout,
        health_check_server=health_check_server,
        supervision=replace(Supervision.from_environment(), signals_to_handle=signals),
        restarts=config.restarts,
    )


def _given_address(parameters: RendezvousParameters) -> tuple[str | None, int | None]:
    """Where workers meet, where the static rendezvous was told."""
    if parameters.backend != "static":
        return None, None
    address, port = parse_rendezvous_endpoint(parameters.endpoint, default_port=-1)
    if not parameters.endpoint.strip() or port == -1:
        raise UsageError(
            f"the static rendezvous needs HOST:PORT as rdzv_endpoint, not {parameters.endpoint!r}"
        )
    return address, port


def _name(entrypoint: Callable[..., Any] | str | None, args: list[Any]) -> str:
    """What is launched, for people: a function, a program, or the script that Python is given."""
    if entrypoint == sys.executable:
        return next((str(word) for word in args if not str(word).startswith("-")), "")
    if isinstance(entrypoint, str):
        return entrypoint
    return str(getattr(entrypoint, "__name__", ""))
