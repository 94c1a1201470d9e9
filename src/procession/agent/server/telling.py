"""What an agent tells of its workers: torch's events and metrics. Pure, but for ``record_metrics``."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from procession.agent.server.workers import WorkerState
from procession.events import Event, EventSource
from procession.metrics import put_metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from procession.agent.server.workers import RunResult, Worker, WorkerGroup, WorkerSpec
    from procession.multiprocessing.errors import ProcessFailure
    from procession.timer import FileTimerRequest

__all__ = ["Context", "make_event", "record_metrics", "watchdog_event", "worker_events"]


class Context(NamedTuple):
    """What all events of an agent have in common.

    Attributes:
        group: The workers.
        restarts: How often they were started again.
        seconds: For how long the agent has run.
    """

    group: WorkerGroup
    restarts: int
    seconds: int


def make_event(
    context: Context,
    state: str,
    source: EventSource,
    worker: Worker | None = None,
    failure: ProcessFailure | None = None,
    raw_error: str | None = None,
    duration_ms: float | None = None,
) -> Event:
    """Make an event.

    Args:
        context: What all have in common.
        state: What it tells, the last part of its name.
        source: Who tells of it.
        worker: Of whom it tells, None of the agent itself.
        failure: What became of the worker.
        raw_error: An error in words.
        duration_ms: How long something took.
    """
    group, spec = context.group, context.group.spec
    metadata = {
        "run_id": spec.rdzv_handler.get_run_id(),
        "global_rank": worker.global_rank if worker else None,
        "group_rank": group.group_rank,
        "worker_id": str(worker.id) if worker else None,
        "role": spec.role,
        "hostname": os.uname().nodename,
        "state": state,
        "total_run_time": context.seconds,
        "rdzv_backend": spec.rdzv_handler.get_backend(),
        "raw_error": json.dumps(failure.error_file_data) if failure else raw_error,
        "metadata": json.dumps(_details(group, worker, failure)),
        "agent_restarts": context.restarts,
        "duration_ms": duration_ms,
    }
    name = f"torchelastic.worker.status.{state}"
    return Event(name, source, timestamp=time.time_ns() // 1_000_000, metadata=metadata)


def watchdog_event(context: Context, name: str, request: FileTimerRequest | None) -> Event:
    """An event of the server that ends stuck workers; torch's."""
    told = {"watchdog_event": name}
    if request is not None:
        fields = ("worker_pid", "scope_id", "expiration_time", "signal")
        told |= {field: str(getattr(request, field)) for field in fields}
    event = make_event(context, "RUNNING", EventSource.AGENT)
    event.name, event.metadata["metadata"] = name, json.dumps(told)
    return event


def _details(
    group: WorkerGroup, worker: Worker | None, failure: ProcessFailure | None
) -> dict[str, int | str | None]:
    details: dict[str, int | str | None] = {
        "group_world_size": group.group_world_size,
        "entry_point": group.spec.get_entrypoint_name(),
    }
    if worker is None:
        return details
    return {
        **details,
        "local_rank": worker.local_rank,
        "role_rank": worker.role_rank,
        "role_world_size": worker.role_world_size,
        "exit_code": failure.exitcode if failure else None,
        "worker_pid": failure.pid if failure else None,
    }


def worker_events(context: Context, result: RunResult) -> Iterator[Event]:
    """An event for each worker, at the end."""
    for worker in context.group.workers:
        failure = result.failures.get(worker.global_rank)
        failed = result.state in {WorkerState.UNHEALTHY, WorkerState.FAILED}
        state = "TERMINATED" if failed and failure is None else result.state.value
        yield make_event(context, state, EventSource.WORKER, worker=worker, failure=failure)


def record_metrics(spec: WorkerSpec, result: RunResult, remaining_restarts: int) -> None:
    """Put torch's metrics of a run that is over."""
    failed, restarted = result.is_failed(), remaining_restarts != spec.max_restarts
    unused = (remaining_restarts + 1) / (spec.max_restarts + 1)
    values = {
        "flakiness": 100 if failed else int(100 - 100 * unused),
        "run_total": 1,
        "run_success_with_retries": int(not failed and restarted),
        "run_success_no_retries": int(not failed and not restarted),
        "run_failed_with_retries": int(failed and restarted),
        "run_failed_no_retries": int(failed and not restarted),
    }
    for name, value in values.items():
        put_metric(f"workers.{spec.role}.{name}", value)
