"""The events of a run: in ``events.jsonl`` of its directory, and for whom ``--event-log-handler`` names."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from procession._os.append import append_line
from procession._report.events import (
    AGENT,
    NAME,
    WORKER,
    Common,
    Subject,
    metadata,
    run_numbers,
)
from procession.cli.say import say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from procession._report.ledger import Fate
    from procession.cli.plan.plan import Plan
    from procession.cli.rundir import RunDirectory
    from procession.multiprocessing import RunProcsResult

EVENTS = "events.jsonl"
TO_FILE = "jsonl:"

_LONGEST_TEXT = 16 * 1024  # characters; all of it is in the worker's error.json
_MOST_ITEMS = 100
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Chronicle:
    """Tells of a run as torch's agents do (``_report/events.py``), with the times of each event.

    A line is written at once, so that a launcher that is killed leaves what it knew.

    Args:
        plan: The run.
        run_id: Its id.
        directory: Its directory; lines wait until that is made.
    """

    def __init__(self, plan: Plan, run_id: str, directory: RunDirectory) -> None:
        backend, hosts = (plan.nodes.backend, None) if plan.nodes else ("static", 1)
        self._common = Common(
            run_id=run_id,
            role=plan.name,
            hostname=os.uname().nodename,
            backend=backend,
            entry_point=os.path.basename(plan.title),
            group_rank=None if plan.nodes else 0,
            group_world_size=hosts,
        )
        self._most = plan.max_restarts
        self._directory = directory
        self._destination = plan.events
        self._began = time.monotonic()
        self._stopping = False
        self._waiting: list[str] = []
        self._own: _Lines | None = None
        self._other = (
            _Lines(plan.events[len(TO_FILE) :]) if plan.events.startswith(TO_FILE) else None
        )
        self._pids: dict[int, int] = {}
        self._first = 0  # rank of local rank 0
        self._world = 0

    def seated(self, group_rank: int, hosts: int, first: int, world: int) -> None:
        """Take note of this host's place in the next gang."""
        self._common = self._common._replace(group_rank=group_rank, group_world_size=hosts)
        self._first, self._world = first, world

    def agent(
        self,
        state: str,
        raw_error: str | None = None,
        duration: float | None = None,
        **more: object,
    ) -> None:
        """Tell of the launcher itself.

        Args:
            state: What has happened.
            raw_error: An error in words.
            duration: Seconds that something took.
            more: What torch's events do not tell.
        """
        took = None if duration is None else duration * 1000
        self._tell([self._event(state, None, raw_error, took, more)])

    def started(self, attempt: int, births: Mapping[int, tuple[int, int]]) -> None:
        """Tell of workers that have been started.

        Args:
            attempt: Its number, from 0 up.
            births: Pid and time (CLOCK_MONOTONIC ns) by local rank: one may have died by now.
        """
        self._pids = {local: pid for local, (pid, _) in births.items()}
        self._stopping, more = False, {"attempt": attempt}
        events = [
            self._event("START", self._subject(local), more=more, at_ns=at_ns)
            for local, (_, at_ns) in births.items()
        ]
        self._tell(sorted(events, key=_when))

    def stopping(self, why: str, at_ns: int) -> None:
        """Tell that workers began to be stopped; once a gang.

        Who stops them does that first: a file system that hangs must not keep them alive.
        """
        if not self._stopping:
            self._stopping = True
            self._tell([self._event("STOPPING", None, why, at_ns=at_ns)])

    def ended(self, attempt: int, result: RunProcsResult | None) -> None:
        """Tell of the end of each worker, in the order of their deaths.

        Args:
            attempt: Its number.
            result: What it came to, by local rank; None where that is not known.
        """
        if result is None:
            return
        deaths = sorted(result.ledger.workers, key=lambda fate: fate.died_ns)
        told = [fate.died_ns - int(fate.after * 1e9) for fate in deaths if fate.after is not None]
        events = [self._end_of(fate, attempt, result) for fate in deaths]
        if told and not self._stopping:
            events.append(self._event("STOPPING", None, "a worker has failed", at_ns=min(told)))
        self._tell(sorted(events, key=_when))

    def over(self, report: Mapping[str, Any]) -> None:
        """Tell of the end of the run.

        Args:
            report: What ``report.json`` is going to say.
        """
        failed = report["exit_code"] != 0
        error = report["message"] or _cause(report) if failed else None
        seconds = time.monotonic() - self._began
        more = {"exit_code": report["exit_code"], "origin": report["origin"]}
        self.agent("FAILED" if failed else "SUCCEEDED", error, seconds, **more)
        if "procession.metrics" in sys.modules:  # else nobody has asked for them
            self._put_numbers(failed, seconds)

    def _put_numbers(self, failed: bool, seconds: float) -> None:
        from procession.metrics import put_metric

        numbers = run_numbers(self._common.restarts, self._most, failed=failed)
        for name, value in numbers.items():
            put_metric(f"workers.{self._common.role}.{name}", value)
        put_metric("SimpleElasticAgent.run.duration.ms", int(seconds * 1000))

    def met(self, seconds: float) -> None:
        """Tell that hosts have come together, after so many seconds."""
        self.agent("RENDEZVOUS", duration=seconds)
        if "procession.metrics" in sys.modules:
            from procession.metrics import put_metric

            put_metric("SimpleElasticAgent._rendezvous.duration.ms", int(seconds * 1000))

    def again(self, line: str, restarts: int, pause: float = 0.0) -> None:
        """Tell that workers are going to be started again.

        Args:
            line: What was said of it.
            restarts: How many restarts there were, with this one.
            pause: Seconds before it.
        """
        self._common = self._common._replace(restarts=restarts)
        self.agent("RESTARTING", line, pause=pause)

    # ---- inside

    def _subject(self, local: int, exit_code: int | None = None) -> Subject:
        rank, pid = self._first + local, self._pids.get(local)
        world = self._world or len(self._pids)
        known = None if exit_code is None else pid
        return Subject(rank, local, rank, world, str(pid) if pid else None, exit_code, known)

    def _end_of(self, fate: Fate, attempt: int, result: RunProcsResult) -> dict[str, Any]:
        failure = result.failures.get(fate.rank)
        state = "FAILED" if failure else "SUCCEEDED"
        if fate.rank in result.stopped or fate.exitcode is None or (fate.told and not failure):
            state = "TERMINATED"
        data = json.dumps(_error(failure.error_file_data)) if failure else None
        lived = None if fate.lived is None else fate.lived * 1000
        more = {"attempt": attempt, "ended_by": fate.ended_by, "told": fate.told}
        subject = self._subject(fate.rank, fate.exitcode)
        return self._event(state, subject, data, lived, more, fate.died_ns)

    def _event(
        self,
        state: str,
        subject: Subject | None,
        raw_error: str | None = None,
        duration_ms: float | None = None,
        more: Mapping[str, Any] | None = None,
        at_ns: int = 0,
    ) -> dict[str, Any]:
        wall, now = time.time_ns(), time.monotonic_ns()
        at_ns = at_ns or now
        wall -= now - at_ns
        common = self._common._replace(seconds=int(time.monotonic() - self._began))
        told = metadata(common, state, subject, raw_error, duration_ms, more)
        times = {"timestamp_ns": wall, "monotonic_ns": at_ns}
        return {
            "name": NAME + state,
            "source": WORKER if subject else AGENT,
            "timestamp": wall // 1_000_000,
            "metadata": {**told, **times},
        }

    def _tell(self, events: list[dict[str, Any]]) -> None:
        lines = [json.dumps(event) for event in events]
        self._waiting += lines
        if self._own is None and self._directory.path is not None:
            self._own = _Lines(os.path.join(self._directory.path, EVENTS))
        if self._own is not None:
            self._own.append(self._waiting)
        if self._own is not None or self._pids:  # workers have started: there will be no directory
            self._waiting = []
        if self._other is not None:
            self._other.append(lines)
        elif self._destination != "null":
            _hand_on(events, self._destination)


class _Lines:
    """A file to which lines are appended; once it could not be written that is said, and all."""

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)
        self._broken = False

    def append(self, lines: list[str]) -> None:
        """Append lines, all by one write."""
        if self._broken:
            return
        try:
            append_line(self._path, "\n".join(lines))
        except OSError as error:
            self._broken = True
            if error.errno not in _FULL:  # whoever watches the space says so
                why = f"{self._path} could not be written: {error.strerror}"
                say(f"{why}; no further events go there")


def _when(event: dict[str, Any]) -> int:
    ns: int = event["metadata"]["monotonic_ns"]
    return ns


def _cause(report: Mapping[str, Any]) -> str:
    root = report["root_cause"]
    return f"rank {root['rank']}: {root['exit']}" if root else ""


def _error(data: dict[str, Any]) -> Any:
    from procession._report.document import shortened

    return shortened(data, _LONGEST_TEXT, _MOST_ITEMS)


def _hand_on(events: list[dict[str, Any]], destination: str) -> None:
    from procession.events import Event, EventSource, record

    for event in events:
        record(Event(**{**event, "source": EventSource(event["source"])}), destination)
