"""This host's workers, as the agent of a run over hosts sees them."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from procession._membership.machine import Ended, Failing
from procession._membership.model import Account, Evidence, Fate
from procession._os.ports import free_port
from procession._report.ledger import Ledger
from procession._report.stories import write_story
from procession._report.view import ReportView
from procession._report.weight import weight
from procession._restarts.cause import GUARDIAN, Cause
from procession._restarts.policy import Again, Budget
from procession._restarts.words import again_line
from procession.cli.exits import worker_status
from procession.cli.plan.environment import seat_environments
from procession.cli.run.stopping import left_as_asked
from procession.cli.say import say, whisper
from procession.errors import GuardianLostError, RendezvousError
from procession.multiprocessing.beside import Beside
from procession.multiprocessing.causes import cause_of
from procession.multiprocessing.errors import ChildFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from procession._loop.gate import SignalGate
    from procession._membership.model import Member, Round
    from procession._os.steady import SteadyClock
    from procession.cli.plan.plan import Plan
    from procession.cli.record import Attempt
    from procession.cli.run.execute import Run
    from procession.multiprocessing import RunProcsResult

_LOOPBACK = ("127.", "::1", "localhost")


class HostCrew:
    """The workers of this host, one gang after the other.

    Args:
        run: Starts them and keeps the record.
        plan: What is started.
        gate: Holds signals to the launcher back.
        raise_for: Makes the exception for one.
        clock: This host's, which is compared with the others'.
    """

    def __init__(
        self,
        run: Run,
        plan: Plan,
        gate: SignalGate,
        raise_for: Callable[[int], BaseException],
        clock: SteadyClock,
    ) -> None:
        self._run = run
        self._plan = plan
        self._gate = gate
        self._raise_for = raise_for
        self._clock = clock
        self._workers: Beside | None = None
        self._attempt: Attempt | None = None
        self._stopping = False
        self._began = 0.0  # monotonic
        self._lived = 0.0  # seconds from then to the first failure or stop
        self._idle_since = time.monotonic()
        self._first = 0  # rank of local rank 0

    def start(self, now: Round, rank: int) -> None:
        """Start the workers of a seat.

        Raises:
            ProcessionError: They cannot be started; none is left.
        """
        address = self._plan.nodes.master_addr if self._plan.nodes else ""
        address = address or master_address(now)
        port = self._plan.master_port or now.seats[0].port
        first = sum(seat.workers for seat in now.seats[:rank])
        (say if now.generation else whisper)(gang_line(now, rank))
        self._tell_of(now, rank, first)
        own = self._plan.attempt_environments(now.generation, self._run.run_id, port)
        shared = seat_environments(now, rank, address)
        started_ns = time.time_ns()
        context = self._run.start(
            {local: {**own[local], **shared[local]} for local in own},
            self._plan.prefixes_from(first),
        )
        self._attempt = self._run.record.begin_attempt(now.generation, port, started_ns)
        self._run.chronicle.started(now.generation, context.births())
        self._workers, self._stopping, self._first = Beside(context), False, first
        self._began, self._lived = time.monotonic(), 0.0

    def _tell_of(self, now: Round, rank: int, first: int) -> None:
        """Have the events tell of a gang that has formed."""
        events, world = self._run.chronicle, sum(seat.workers for seat in now.seats)
        events.seated(rank, len(now.seats), first, world)
        if now.cause is not None:
            again = Again(Budget(now.restarts, now.cause), worked=now.worked)
            events.again(again_line(again, self._plan.max_restarts), now.restarts)
        events.met(time.monotonic() - self._idle_since)

    def stop(self) -> None:
        """Begin to stop them, with their grace; asked again, without."""
        workers = self._workers
        if workers is None:
            return
        if self._stopping:
            workers.stop_now()
        self._note_end()
        self._stopping, at_ns = True, time.monotonic_ns()
        workers.stop(signal.SIGTERM, self._plan.grace)
        self._run.chronicle.stopping("the gang is over, or somebody has ended this agent", at_ns)

    def kill(self) -> None:
        """Kill them; none is left on return."""
        if self._workers is None:
            return
        context, self._workers, at_ns = self._workers.context, None, time.monotonic_ns()
        context.close(signal.SIGKILL, 0)
        self._run.chronicle.stopping("they have to be gone at once", at_ns)
        with suppress(GuardianLostError):
            self._note_result(context.wait(0))

    def wait(self, fd: int, timeout: float, also: int = -1) -> list[Failing | Ended]:
        """Sleep until something happens to them, ``fd`` is readable or so many seconds are over.

        Raises:
            SignalException: A signal to end this launcher has come.
        """
        found = (
            self._idle(fd, timeout, also) if self._workers is None else self._attend(fd, timeout)
        )
        if self._gate.pending and not found:
            raise self._raise_for(self._gate.take_pending()[0])
        return found

    def free_port(self) -> int:
        """Find a port for the next round."""
        return free_port({attempt.master_port for attempt in self._run.record.attempts})

    def _idle(self, fd: int, timeout: float, also: int) -> list[Failing | Ended]:
        self._gate.sleep(timeout, fd, also)
        return []

    def _note_end(self) -> None:
        """The gang has begun to end: what its grace takes is not counted as work."""
        self._lived = self._lived or time.monotonic() - self._began

    def _attend(self, fd: int, timeout: float) -> list[Failing | Ended]:
        workers = self._workers
        if workers is None:
            return []
        knew, set_back = workers.failing, self._clock.base - workers.since_boot_ns
        try:
            result = workers.wait(fd, timeout, lambda: self._gate.pending)
        except GuardianLostError as error:
            self._workers = None
            self._note_end()
            cause = Cause(GUARDIAN, error.exit_code, words=f"the guardian on {_host()} was killed")
            account = Account(error.exit_code, str(error), cause=cause, lived=self._lived)
            return [Ended(Fate.FAILED, account)]
        if workers.failing or result is not None:
            self._note_end()
        if result is not None:
            self._workers = None
            return [self._ended(result, set_back)]
        return [Failing()] if workers.failing and not knew and not self._stopping else []

    def _note_result(self, own: RunProcsResult | None) -> None:
        self._idle_since = time.monotonic()
        if self._attempt is not None and own is not None:
            self._attempt.result = by_rank(own, self._first)
            self._run.chronicle.ended(self._attempt.number, own)

    def _ended(self, own: RunProcsResult, set_back: int) -> Ended:
        self._run.timers.explain(own)
        self._note_result(own)
        result = by_rank(own, self._first)
        if result.failures:
            return self._failed(result, set_back)
        if not result.stopped:
            return Ended(Fate.SUCCEEDED, Account(lived=self._lived))
        story = write_story(ReportView(self._plan.title, ledger=result.ledger))
        return Ended(Fate.STOPPED, Account(story=story, lived=self._lived))

    def _failed(self, result: RunProcsResult, set_back: int) -> Ended:
        error = ChildFailedError(self._plan.title, result.failures, result.stopped, result.ledger)
        report = error.report()
        status, first = worker_status(report.failures[0].exitcode), report.failures[0]
        asked = self._run.asked_to_leave and left_as_asked(result.failures)
        account = Account(
            status,
            story=write_story(report),
            failed_at=first.timestamp_ns + set_back,
            evidence=Evidence(weight(first)),
            cause=cause_of(result.failures, _host(), asked=asked),
            lived=self._lived,
        )
        return Ended(Fate.FAILED, account)


def _host() -> str:
    return os.uname().nodename


def by_rank(result: RunProcsResult, first: int) -> RunProcsResult:
    """A host's result by rank, not by local rank. Pure."""
    failures = {first + local: failure for local, failure in result.failures.items()}
    stopped = {first + local: failure for local, failure in result.stopped.items()}
    ledger = Ledger(*(tuple(_row(row, first) for row in rows) for rows in result.ledger))
    return replace(result, failures=failures, stopped=stopped, ledger=ledger)


def _row(row: Any, first: int) -> Any:
    return row if row.rank is None else row._replace(rank=first + row.rank)


def master_address(now: Round) -> str:
    """Where the workers of a round meet. Pure.

    Raises:
        RendezvousError: Its first host is known by an address that the others cannot reach.
    """
    first = now.seats[0]
    others = [seat for seat in now.seats if not _is_loopback(seat)]
    if _is_loopback(first) and others:
        raise RendezvousError(
            f"{first.host} is known as {first.address}, at which {others[0].host} "
            f"({others[0].address}) cannot reach it. On {first.host}, give --local-addr, or an "
            "--rdzv-endpoint that is not on loopback."
        )
    return first.address


def _is_loopback(seat: Member) -> bool:
    return seat.address.startswith(_LOOPBACK)


def gang_line(now: Round, rank: int) -> str:
    """What is said when a gang of several hosts starts. Pure."""
    hosts, workers = len(now.seats), sum(seat.workers for seat in now.seats)
    first = sum(seat.workers for seat in now.seats[:rank])
    last = first + now.seats[rank].workers - 1
    here = f"rank {first}" if first == last else f"ranks {first}-{last}"
    return (
        f"gang {now.generation}: {hosts} host{'s' * (hosts > 1)}, {workers} workers; "
        f"{now.seats[rank].host} is host {rank}, with {here}"
    )
