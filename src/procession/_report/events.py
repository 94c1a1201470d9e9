"""What happens in a run as torch's events have it: names and keys of its agent's. Pure.

Keys of the metadata (torch/distributed/elastic/agent/server/api.py, ``_construct_event``): run_id,
global_rank, group_rank, worker_id, role, hostname, state, total_run_time (whole seconds), rdzv_backend,
raw_error, metadata (JSON text: group_world_size, entry_point; of a worker also local_rank, role_rank,
role_world_size, exit_code, worker_pid), agent_restarts, duration_ms.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "torchelastic.worker.status."
AGENT, WORKER = "AGENT", "WORKER"


class Common(NamedTuple):
    """What all events of an agent have in common.

    Attributes:
        run_id: The run.
        role: Name of the workers.
        hostname: The agent's host.
        backend: Where hosts meet.
        entry_point: What is run.
        group_rank: The host's rank, None before it has one.
        group_world_size: How many hosts there are, likewise.
        restarts: How often workers were started again.
        seconds: For how long the agent has run.
    """

    run_id: str
    role: str
    hostname: str
    backend: str
    entry_point: str
    group_rank: int | None = None
    group_world_size: int | None = None
    restarts: int = 0
    seconds: int = 0


class Subject(NamedTuple):
    """The worker of which an event tells.

    Attributes:
        rank: Among all.
        local_rank: Among those of its host.
        role_rank: Among all of its role.
        role_world_size: How many of its role there are.
        id: Its pid as text, None before it runs.
        exit_code: Of its end, as in `subprocess`; None where it lives, or has not failed.
        pid: Likewise its pid.
    """

    rank: int
    local_rank: int
    role_rank: int
    role_world_size: int
    id: str | None
    exit_code: int | None = None
    pid: int | None = None


def metadata(
    common: Common,
    state: str,
    subject: Subject | None = None,
    raw_error: str | None = None,
    duration_ms: float | None = None,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What an event tells beside its name.

    Args:
        common: What all have in common.
        state: What has happened, the last part of the name.
        subject: Of whom it tells, None of the agent itself.
        raw_error: An error, as text.
        duration_ms: How long something took.
        more: What torch's events do not tell; goes to the end of ``metadata``.
    """
    details: dict[str, Any] = {
        "group_world_size": common.group_world_size,
        "entry_point": common.entry_point,
    }
    if subject is not None:
        details |= {
            "local_rank": subject.local_rank,
            "role_rank": subject.role_rank,
            "role_world_size": subject.role_world_size,
            "exit_code": subject.exit_code,
            "worker_pid": subject.pid,
        }
    return {
        "run_id": common.run_id,
        "global_rank": subject.rank if subject else None,
        "group_rank": common.group_rank,
        "worker_id": subject.id if subject else None,
        "role": common.role,
        "hostname": common.hostname,
        "state": state,
        "total_run_time": common.seconds,
        "rdzv_backend": common.backend,
        "raw_error": raw_error,
        "metadata": json.dumps({**details, **(more or {})}),
        "agent_restarts": common.restarts,
        "duration_ms": duration_ms,
    }


def run_numbers(used: int, most: int, *, failed: bool) -> dict[str, int]:
    """Say torch's metrics of a run that is over, by the last part of their names.

    Args:
        used: Restarts that there were.
        most: Restarts that there might have been.
        failed: How it ended.
    """
    return {
        "flakiness": 100 if failed else int(100 - 100 * (most - used + 1) / (most + 1)),
        "run_total": 1,
        "run_success_with_retries": int(not failed and used > 0),
        "run_success_no_retries": int(not failed and not used),
        "run_failed_with_retries": int(failed and used > 0),
        "run_failed_no_retries": int(failed and not used),
    }
