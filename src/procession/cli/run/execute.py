"""Carries a plan out: attempts, the report, and the directory they are kept in."""

from __future__ import annotations

import math
import os
import signal
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from procession._loop.gate import SignalGate
from procession._os.ports import free_port
from procession._report.account import hard_lines, remains_lines
from procession.cli.plan.specs import make_specs
from procession.cli.record import Record, message
from procession.cli.run.chronicle import Chronicle
from procession.cli.run.starting import start_error
from procession.cli.run.stopping import RunStopFile
from procession.cli.run.timers import RunTimers
from procession.cli.rundir import RunDirectory, prune
from procession.cli.runid import random_id
from procession.cli.say import say, whisper, write
from procession.errors import GuardianLostError
from procession.multiprocessing import Supervision, start_processes
from procession.multiprocessing.errors import ChildFailedError
from procession.multiprocessing.supervision import LogBooks, SignalException

if TYPE_CHECKING:
    from collections.abc import Iterable

    from procession._guardian.kept import KeptGuardian
    from procession.cli.plan.plan import Plan
    from procession.cli.run.restarts import Restarts
    from procession.multiprocessing import LogsSpecs, PContext, RunProcsResult


def execute(plan: Plan, guardian: KeptGuardian | None = None) -> None:
    """Run a gang to its end.

    Args:
        plan: The run.
        guardian: One that was started ahead, for all attempts.

    Raises:
        ChildFailedError: Workers failed at the last attempt.
        SignalException: A signal ended the run.
        ProcessionError: The run could not be started or carried on.
    """
    stop_file = RunStopFile(plan.asking, plan.signals)
    gate = SignalGate(signal_exception, stop_file.hear, stop_file.hear, once=True)
    with ExitStack() as stack:
        # The command's own process hears no signal from here to its end, which has been decided.
        stack.callback(gate.silence if guardian else gate.restore)
        gate.install(_numbers(plan.signals), _numbers((*plan.forwarded, *plan.asking)))
        mark = guardian.run_id if guardian else random_id()
        directory = stop_file.directory = RunDirectory(plan.logs.directory, mark, plan.about())
        stack.callback(directory.close)
        stack.callback(stop_file.leave)
        if plan.logs.limit is not None:
            directory.require_holes()
        run = _kind_of_run(plan)(plan, gate, directory, stop_file, mark, guardian)
        stack.callback(run.timers.close)
        run.go()


def _kind_of_run(plan: Plan) -> type[Run]:
    if plan.nodes is None:
        return Run
    from procession.cli.run.over_hosts import RunOverHosts

    return RunOverHosts


class Run:
    """One run: its attempts and their record; on this host alone, unless a subclass knows more."""

    def __init__(
        self,
        plan: Plan,
        gate: SignalGate,
        directory: RunDirectory,
        stop_file: RunStopFile,
        mark: str,
        guardian: KeptGuardian | None,
    ) -> None:
        self.plan = plan
        self._guardian = guardian
        self.gate = gate
        self._directory = directory
        self._stop_file = stop_file
        self._mark = mark  # unlike the run's name, nobody else's
        self.run_id = plan.run_id or mark
        self.record = Record(plan.title, self.run_id)
        self.timers = RunTimers(os.environ, self.run_id)
        self.chronicle = Chronicle(plan, self.run_id, directory)
        self._specs: LogsSpecs | None = None
        self._restarts: Restarts | None = None  # once something has failed

    @property
    def asked_to_leave(self) -> bool:
        """Whether the stop file is there."""
        return self._stop_file.exists()

    def go(self) -> None:
        """Make attempts until one succeeds or none is left; keep the record, whatever happens."""
        try:
            self.make_attempts()
            self._decided()
        except BaseException as error:
            try:
                self._decided()
            except SignalException:  # it came just now, too late to be the reason
                self._decided()
            with self.gate.held():
                self._close(error)
            raise
        with self.gate.held():
            self._close(None)

    def _decided(self) -> None:
        """What the report says is what the command ends with: from now on a signal changes nothing."""
        if self._guardian is not None:  # the command's own process
            self.gate.silence()
            self._guardian.dismiss()  # it ends while the report is written

    def make_attempts(self) -> None:
        """Start the gang, and again after a failure as long as the policy says so.

        Raises:
            ChildFailedError: The last attempt failed.
            GuardianLostError: It ended with its guardian.
        """
        number = 0
        while (error := self._error_of(number)) is not None:
            if not self._goes_on_after(error):
                raise error
            number += 1

    def _error_of(self, number: int) -> ChildFailedError | GuardianLostError | None:
        """Make an attempt, and say how it failed; None if all is well."""
        try:
            result = self._attempt(number)
        except GuardianLostError as lost:
            return lost
        if not result.is_failed():
            _say_all(remains_lines(result.ledger))
            return None
        error = ChildFailedError(self.plan.title, result.failures, result.stopped, result.ledger)
        error.earlier = self.record.earlier_causes()
        return error

    def _goes_on_after(self, error: ChildFailedError | GuardianLostError) -> bool:
        """Ask the policy, say what it says, and wait out its pause."""
        if not self.plan.max_restarts:
            return False
        from procession.cli.run.restarts import Restarts

        if self._restarts is None:
            self._restarts = Restarts(self.plan.restarts, self.plan.max_restarts, self._mark)
        pause, line = self._restarts.after(error, asked=self.asked_to_leave)
        if line:
            say(line)
        if pause is None:
            return False
        self.chronicle.again(line, self._restarts.spent, pause)
        self.gate.rest(pause)
        return True

    def _attempt(self, number: int) -> RunProcsResult:
        context: PContext | None = None
        try:
            with self.gate.held():
                port, started_ns = self._master_port(), time.time_ns()
                envs = self.plan.attempt_environments(number, self.run_id, port)
                context = self._begin(envs)
                attempt = self.record.begin_attempt(number, port, started_ns)
                self.chronicle.started(number, context.births())
            attempt.result = _finished(context)
            self.timers.explain(attempt.result)
        except SignalException as stop:
            if context is not None:
                say(stopping_line(stop.sigval, self.plan.grace), patience=0)
                at_ns = time.monotonic_ns()
                context.close(signal.SIGTERM, self.plan.grace)
                self.chronicle.stopping(stop.sigval.name, at_ns)
                attempt.result = _told(context)
            raise
        finally:
            if context is not None:
                context.close(signal.SIGTERM, self.plan.grace)
                self.chronicle.ended(number, attempt.result)
        return attempt.result

    def _begin(self, envs: dict[int, dict[str, str]]) -> PContext:
        """Start a gang of which there is at least a worker.

        Raises:
            SignalException: There is none, and nothing is left.
            ProcessionError: As of ``start``.
        """
        context = self.start(envs, self.plan.prefixes)
        if self._was_cut_off(context):
            context.close(signal.SIGKILL, 0)
            raise signal_exception(self.gate.take_pending()[0])
        return context

    def _was_cut_off(self, context: PContext) -> bool:
        """Whether a signal came before the first worker: modules that are preloaded take their time."""
        return self.gate.pending and not context.pids()

    def _master_port(self) -> int:
        """The one that was given, or another at each attempt: something may hold on to the last one."""
        before = {attempt.master_port for attempt in self.record.attempts}
        return self.plan.master_port or free_port(before)

    def start(self, envs: dict[int, dict[str, str]], prefixes: dict[int, str] | None) -> PContext:
        """Start a gang.

        Args:
            envs: What is added to the environment of each local rank.
            prefixes: What stands before each line of a local rank's output, None for the usual.

        Raises:
            ProcessionError: It cannot be started; nothing is left of it.
        """
        plan = self.plan
        if self._specs is None:
            specs = make_specs(plan.logs, self._directory.base)
            self._specs = self._directory.watch(specs)
        try:
            context = start_processes(
                name=plan.name,
                entrypoint=plan.command.entrypoint,
                args=plan.arguments(),
                envs={rank: {**env, **self.timers.environment} for rank, env in envs.items()},
                logs_specs=self._specs,
                log_line_prefixes=prefixes,
                start_method=plan.start_method,
                duplicate_stdout_filters=plan.logs.stdout_filters,
                duplicate_stderr_filters=plan.logs.stderr_filters,
                supervision=self._supervision(),
            )
        except OSError as error:
            raise start_error(error, plan.command) from error
        if not (self.record.attempts or self._was_cut_off(context)):
            self._stop_file.settle()
            self._announce()
        return context

    def _supervision(self) -> Supervision:
        return Supervision(
            shutdown_timeout=self.plan.grace,
            signals_to_handle=self.plan.signals,
            forward_signals=self.plan.forwarded,
            stop_file=self._stop_file,
            run_id=self._mark,
            exclusive=self._guardian is not None,
            guardian=self._guardian,
            isolate=self.plan.isolate,
            preload=self.plan.preload,
            spares=self.plan.spares,
            pipes=self.plan.logs.pipes,
            tty_rank=self.plan.logs.tty_rank,
            books=LogBooks(self.plan.logs.limit, partial(say, patience=0)),
            look=self.plan.logs.look,
        )

    def _announce(self) -> None:
        self._directory.link_latest()
        if self._directory.path is not None:
            whisper(f"logs in {_short(self._directory.path)}")

    def _close(self, error: BaseException | None) -> None:
        """Write the report; or leave nothing behind where no worker was ever started."""
        if not self.record.attempts:
            self._directory.discard()
            return
        document = self.record.document(error, time.time_ns())
        self.chronicle.over(document)
        asked = self._stop_file.path if self._stop_file.exists() else None
        self._directory.write_report({**document, "stop_file": asked})
        if self.plan.logs.keep_runs is not None and self._directory.path is not None:
            prune(os.path.dirname(self._directory.path), self.plan.logs.keep_runs)


def _finished(context: PContext) -> RunProcsResult:
    """Wait for a gang without end."""
    result = context.wait()
    while result is None:
        result = context.wait()
    return result


def _told(context: PContext) -> RunProcsResult | None:
    """What came of a gang that a signal has ended; what had failed before the signal is said."""
    try:
        result = context.wait(0)
    except GuardianLostError as lost:  # the run had been asked to end all the same
        say(message(lost))
        return None
    if result is not None and result.failures:
        failed = ChildFailedError(context.name, result.failures, result.stopped, result.ledger)
        write(f"{failed}\n")
    elif result is not None:
        _say_all([*hard_lines(result.ledger.workers), *remains_lines(result.ledger)])
    return result


def _say_all(lines: Iterable[str]) -> None:
    for line in lines:
        say(line)


def stopping_line(signum: signal.Signals, grace: float) -> str:
    """What is said when a signal begins the end of a run. Pure."""
    if grace == 0:
        return f"{signum.name}: the workers get SIGKILL"
    kill = "" if grace == math.inf else f", and SIGKILL after {grace:g} s"
    return f"{signum.name}: the workers get SIGTERM{kill}; a further signal kills them at once"


def _short(path: str) -> str:
    """The path from here, where that is shorter."""
    try:
        return min(os.path.relpath(path), path, key=len)
    except FileNotFoundError:  # the current directory has been removed
        return path


def _numbers(names: tuple[str, ...]) -> list[int]:
    return [signal.Signals[name].value for name in names]


def signal_exception(signum: int) -> SignalException:
    """What ends a run that got a signal."""
    number = signal.Signals(signum)
    return SignalException(f"the launcher got {number.name}", number)
