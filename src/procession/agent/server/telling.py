"""What an agent tells of its workers: torch's events and metrics. Pure, but for ``record_metrics``."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from procession._report.events import NAME, Common, Subject, metadata, run_numbers
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
    common = Common(
        run_id=spec.rdzv_handler.get_run_id(),
        role=spec.role,
        hostname=os.uname().nodename,
        backend=spec.rdzv_handler.get_backend(),
        entry_point=spec.get_entrypoint_name(),
        group_rank=group.group_rank,
        group_world_size=group.group_world_size,
        restarts=context.restarts,
        seconds=context.seconds,
    )
    error = json.dumps(failure.error_file_data) if failure else raw_error
    subject = _subject(worker, failure) if worker else None
    told = metadata(common, state, subject, error, duration_ms)
    return Event(NAME + state, source, timestamp=time.time_ns() // 1_000_000, metadata=told)


def watchdog_event(context: Context, name: str, request: FileTimerRequest | None) -> Event:
    """An event of the server that ends stuck workers; torch's."""
    told = {"watchdog_event": name}
    if request is not None:
        fields = ("worker_pid", "scope_id", "expiration_time", "signal")
        told |= {field: str(getattr(request, field)) for field in fields}
    event = make_event(context, "RUNNING", EventSource.AGENT)
    event.name, event.metadata["metadata"] = name, json.dumps(told)
    return event


def _subject(worker: Worker, failure: ProcessFailure | None) -> Subject:
    return Subject(
        rank=worker.global_rank,
        local_rank=worker.local_rank,
        role_rank=worker.role_rank,
        role_world_size=worker.role_world_size,
        id=str(worker.id),
        exit_code=failure.exitcode if failure else None,
        pid=failure.pid if failure else None,
    )


def worker_events(context: Context, result: RunResult) -> Iterator[Event]:
    """An event for each worker, at the end."""
    for worker in context.group.workers:
        failure = result.failures.get(worker.global_rank)
        failed = result.state in {WorkerState.UNHEALTHY, WorkerState.FAILED}
        state = "TERMINATED" if failed and failure is None else result.state.value
        yield make_event(context, state, EventSource.WORKER, worker=worker, failure=failure)


def record_metrics(spec: WorkerSpec, result: RunResult, remaining_restarts: int) -> None:
    """Put torch's metrics of a run that is over."""
    used = spec.max_restarts - remaining_restarts
    values = run_numbers(used, spec.max_restarts, failed=result.is_failed())
    for name, value in values.items():
        put_metric(f"workers.{spec.role}.{name}", value)
