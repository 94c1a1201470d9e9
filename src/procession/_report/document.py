"""The report of a run for programs: what stands in report.json. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from procession._report.words import exit_name

if TYPE_CHECKING:
    from procession._report.view import FailureView, ReportView

VERSION = 1
"""Raised when a key changes its meaning or goes; new keys may come at any time."""

Origin = Literal["worker", "signal", "usage", "start", "internal"]


def report_json(
    report: ReportView,
    *,
    origin: Origin,
    exit_code: int,
    run_id: str = "",
    attempt: int = 0,
    message: str = "",
) -> dict[str, Any]:
    """What report.json holds.

    ========== =====================================================================================
    key        value
    ========== =====================================================================================
    version    1
    origin     whose end the exit code tells: "worker" (a worker failed), "signal" (the launcher was
               asked to end), "usage" (a mistake in what was asked for), "start" (a worker could not
               be started), "internal" (a fault of procession)
    exit_code  the command's exit status
    name       what was run
    run_id     the run
    attempt    the attempt, from 0
    message    the error in words, "" where a worker's failure says all
    root_cause the first of `failures`, null where there is none, or where a host was lost
    failures   workers that failed by themselves, in order of time
    stopped    workers that procession ended because of that
    ledger     workers: of each, by rank, rank, pid, exitcode (null: it could not be ended),
               core_dumped, ended_by ("itself", "outside" (a signal that was not procession's), "oom
               killer", "procession", "nobody"), told (procession's last signal to it, or null), lived
               (seconds from start to end), after (seconds from procession's first signal to it to
               its end, or null), died_ns (CLOCK_MONOTONIC ns of its end, or 0); swept: processes that dead workers had left, pid, name, rank (of the
               worker, or null), signal (what ended it); stuck: what could not be ended, pid, name,
               rank, state, wchan, stack
    ========== =====================================================================================

    A failure or a stopped worker has: rank, local_rank, host, pid, exitcode (as in Python's
    subprocess), exit (that in words: "exit code 3", "SIGKILL"), core_dumped, timestamp_ns (wall clock,
    ns since the epoch), time (the same, local), duration (seconds, or null), error (null, or message,
    exception_type, traceback as the worker wrote them), error_file (path, or null), error_file_problem
    (or null), last_lines (of stderr; where faulthandler wrote of a signal there, that), stdout, stderr
    (paths, or null where not captured), oom (null, or file, before, now, sure: the counter of OOM kills
    at the gang's start and at the death, and whether it is this death that was counted),
    shared_memory (of a SIGBUS: bytes free and size of /dev/shm; else null), core (where the core dump
    is, or null), hastened_by (procession's signal that ended a worker on its way out, which has the exit
    code that it would have had; else null), doubt_ns (over several hosts: timestamp_ns is as the clock
    of the root cause's host would have shown it, and this is by how much it may be wrong; null where the
    clocks were not compared; else 0).

    Args:
        report: What happened.
        origin: Whose end the exit code tells.
        exit_code: The command's exit status.
        run_id: The run.
        attempt: The attempt, from 0.
        message: The error in words.

    Returns:
        Values that `json.dumps` takes.
    """
    failures = [failure_json(view) for view in report.failures]
    return {
        "version": VERSION,
        "origin": origin,
        "exit_code": exit_code,
        "name": report.name,
        "run_id": run_id,
        "attempt": attempt,
        "message": message,
        "root_cause": failures[0] if failures and not report.lost else None,
        "failures": failures,
        "stopped": [failure_json(view) for view in report.stopped],
        "ledger": {
            part: [row._asdict() for row in rows] for part, rows in report.ledger._asdict().items()
        },
    }


def failure_json(view: FailureView) -> dict[str, Any]:
    """A failure, or a stopped worker, as `report_json` describes it."""
    return {
        "rank": view.rank,
        "local_rank": view.local_rank,
        "host": view.host,
        "pid": view.pid,
        "exitcode": view.exitcode,
        "exit": exit_name(view.exitcode),
        "core_dumped": view.core_dumped,
        "timestamp_ns": view.timestamp_ns,
        "time": view.time,
        "duration": view.duration,
        "error": _error(view),
        "error_file": view.error_file or None,
        "error_file_problem": view.problem,
        "last_lines": list(view.last_lines),
        "stdout": view.stdout or None,
        "stderr": view.stderr or None,
        "oom": view.oom._asdict() if view.oom else None,
        "shared_memory": view.shared_memory._asdict() if view.shared_memory else None,
        "core": view.core or None,
        "hastened_by": view.hastened_by or None,
        "doubt_ns": view.doubt_ns,
    }


def _error(view: FailureView) -> dict[str, Any] | None:
    """What the worker itself wrote of its failure."""
    if not view.message and not view.traceback:
        return None
    return {
        "message": view.message,
        "exception_type": view.exception_type,
        "traceback": view.traceback,
    }


def shortened(value: Any, text: int, items: int) -> Any:
    """A document with its long texts and lists cut.

    Args:
        value: The document.
        text: Characters of each text that are kept, its last.
        items: Items of each list that are kept, its first.
    """
    if isinstance(value, dict):
        return {key: shortened(item, text, items) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [shortened(item, text, items) for item in value[:items]]
    if isinstance(value, str) and len(value) > text:
        return f"[...] {value[-text:]}"
    return value
