"""The context of a running gang: what `start_processes` returns."""

from __future__ import annotations

import abc
import math
import os
import signal
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from procession._log import Logger
from procession._loop.gate import SignalGate, weakly
from procession._os.subreaper import LEASE
from procession.errors import GuardianLostError
from procession.multiprocessing.captures import Captures
from procession.multiprocessing.fork_server import common_environment, judge_server
from procession.multiprocessing.start import require_all_ranks
from procession.multiprocessing.streams import flush_own, open_streams, standard_streams
from procession.multiprocessing.supervision import (
    SignalException,
    Supervision,
    signal_exception,
    signal_numbers,
)
from procession.multiprocessing.views import Views

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TextIO

    from procession._guardian.client import Guardian
    from procession._guardian.kept import KeptGuardian
    from procession._loop.gang import Gang
    from procession._os.cgroup import Leaf
    from procession.multiprocessing.errors import ProcessFailure
    from procession.multiprocessing.failures import Failures
    from procession.multiprocessing.fork_server import ServerOrder
    from procession.multiprocessing.logs_specs import LogsSpecs
    from procession.multiprocessing.results import RunProcsResult

__all__ = ["PContext"]

logger = Logger(__name__)


class PContext(abc.ABC):
    """A gang of workers, started by a function or a binary, one copy a local rank.

    Args:
        name: What the processes are, for people; also the head of each teed line.
        entrypoint: A function, or a binary as a string.
        args: Arguments of each local rank.
        envs: What is added to the environment of each local rank; it wins over the caller's.
        logs_specs: Where output goes and what of it is teed to the console.
        log_line_prefixes: The head of each teed line by local rank, in place of ``[{name}{rank}]:``.
        duplicate_stdout_filters: Where not empty, teed stdout lines that contain any of these
            strings are copied, from all ranks, into ``LogsDest.filtered_stdout``.
        duplicate_stderr_filters: The same for stderr.
        supervision: Grace, signals and run id; by default as torch's environment variables say.
    """

    def __init__(
        self,
        name: str,
        entrypoint: Callable[..., Any] | str,
        args: dict[int, tuple[Any, ...]],
        envs: dict[int, dict[str, str]],
        logs_specs: LogsSpecs,
        log_line_prefixes: dict[int, str] | None = None,
        duplicate_stdout_filters: list[str] | None = None,
        duplicate_stderr_filters: list[str] | None = None,
        supervision: Supervision | None = None,
    ) -> None:
        self.name = name
        self.entrypoint = entrypoint
        self.args = args
        # A copy a rank, as one dict may serve all: each gets the path of its own error file.
        self.envs = {rank: dict(env) for rank, env in envs.items()}
        self.nprocs = len(args)
        destination = logs_specs.reify(self.envs)
        require_all_ranks(destination.stdouts, self.nprocs, "stdouts")
        require_all_ranks(destination.stderrs, self.nprocs, "stderrs")
        self.stdouts = destination.stdouts
        self.stderrs = destination.stderrs
        self.error_files = destination.error_files
        self._supervision = supervision or Supervision.from_environment()
        self._run_id = self._supervision.run_id or os.urandom(8).hex()
        self._inherited_env: dict[str, str] = {}  # the caller's, as it is at `start()`
        self._gang: Gang | None = None
        self._start_failed = False
        self._swept = False  # nothing is left for the gang's guardian to guard
        self._result: RunProcsResult | None = None
        self._gate = SignalGate(signal_exception, weakly(self._forward), weakly(self._ask))
        self._held_things = ExitStack()
        self._own_guardian: Guardian | None = None
        self._captures = Captures(self._supervision, self.stdouts, self.stderrs)
        self._ending = threading.RLock()  # one thread at a time takes a gang to its end
        look = self._supervision.look
        filters = (duplicate_stdout_filters, duplicate_stderr_filters)
        self._views = Views(name, destination, log_line_prefixes, filters, look, self.envs)

    def start(self) -> None:
        """Start the workers; a context is started once.

        Raises:
            ValueError: It was started before.
            SignalException: A handled signal came meanwhile; the workers have been stopped, with
                their grace, and ``wait(0)`` tells what came of them.
            OSError: A log file cannot be opened or a worker cannot be started (``filename``, and
                ``local_rank`` for a worker); nothing is left running.
        """
        if self._gang is not None:
            raise ValueError("this context was started before; call start_processes for a new gang")
        try:
            with self._gate.held(), standard_streams():
                self._start_or_release()
        except SignalException as stop:
            # Nobody else could stop the workers: the context is not known to the caller yet.
            self.close(signal.SIGTERM, self._supervision.shutdown_timeout)
            stop.context = self
            raise

    def wait(self, timeout: float = -1, period: float = 1) -> RunProcsResult | None:  # noqa: ARG002
        """Wait until all workers have ended or one has failed; then stop the others and report.

        Args:
            timeout: Seconds to wait; negative waits for ever, 0 only asks. Once a worker has failed
                the stop of the others is waited for, whatever the timeout.
            period: Accepted for torch's sake; nothing polls here.

        Returns:
            The result, or None if the workers still run.

        Raises:
            SignalException: A handled signal came. The workers still run: call ``close``.
            GuardianLostError: The guardian died; no worker is left.
        """
        return self.wait_until(math.inf if timeout < 0 else time.monotonic() + timeout)

    def wait_until(
        self, deadline: float, interrupted: Callable[[], bool] = lambda: False
    ) -> RunProcsResult | None:
        """Wait likewise, to a monotonic time in seconds, or until ``interrupted`` returns True."""

        def ends() -> bool:
            return self._gate.pending or interrupted()

        with self._gate.held():
            if self._result is None and self._running_gang().wait(deadline, ends):
                with self._ending:
                    self._result = self._result or self._finish()
            return self._result

    def pids(self) -> dict[int, int]:
        """Return the pid of each worker by local rank."""
        return {rank: pid for rank, (pid, _) in self.births().items()}

    def births(self) -> dict[int, tuple[int, int]]:
        """Return likewise pid and time of start: CLOCK_MONOTONIC ns before which it did nothing."""
        workers = sorted(self._running_gang().workers.items())
        return {rank: (worker.pid, worker.started_ns) for rank, worker in workers}

    def close(self, death_sig: signal.Signals | None = None, timeout: float = 30) -> None:
        """End all workers and everything they started, and put signal handlers back.

        Args:
            death_sig: What the workers get first; SIGTERM where None.
            timeout: Seconds until SIGKILL. A further terminating signal to this process, more than
                a second later, ends the wait.
        """
        with self._gate.held():
            if self._gang is not None:
                self._gang.stop(int(death_sig or signal.SIGTERM), timeout, self._take_hurry)
            self._release()
            self._see_off()

    @property
    def filtered_stdout(self) -> TextIO | None:
        """The file of the teed stdout lines that match a filter; None without filters."""
        return self._views.filtered_stdout

    @property
    def filtered_stderr(self) -> TextIO | None:
        """The same of stderr."""
        return self._views.filtered_stderr

    def __enter__(self) -> PContext:
        return self

    def __exit__(self, *_: object) -> None:
        """Close it: what a block was left for, an interrupt say, leaves nothing running."""
        self.close()

    @abc.abstractmethod
    def _spawn_guardian(self) -> Guardian:
        """Make the guardian that this kind of worker needs."""

    def _server(self) -> ServerOrder | None:
        """Return the fork server from which the workers come; None where each is started by itself."""
        return None

    @abc.abstractmethod
    def _start_worker(self, gang: Gang, rank: int, streams: tuple[int, int]) -> None:
        """Ask ``gang`` for the worker of ``rank``."""

    def _return_values(
        self, failures: Failures, stopped: Mapping[int, ProcessFailure]
    ) -> dict[int, Any]:
        """Return what the workers returned, after success; add to the failures what is known of them."""
        return {} if failures or stopped else dict.fromkeys(range(self.nprocs))

    def worker_env(self, rank: int) -> dict[str, str]:
        """Return the whole environment of the worker of ``rank``."""
        added = {name: str(value) for name, value in self.envs[rank].items()}
        ours = {"PROCESSION_RUN_ID": self._run_id}
        if self._supervision.stop_file is not None:
            ours["PROCESSION_STOP_FILE"] = self._supervision.stop_file.path
        return {**self._inherited_env, **added, **ours}

    def _common_env(self) -> dict[str, str]:
        """Return what the environments of all workers agree on."""
        return common_environment([self.worker_env(rank) for rank in range(self.nprocs)])

    # ---- inside

    def _start_or_release(self) -> None:
        signals = self._supervision
        self._held_things.callback(self._gate.restore)
        try:
            asking = signals.stop_file.signals if signals.stop_file else ()
            self._gate.install(
                signal_numbers(signals.signals_to_handle),
                signal_numbers((*signals.forward_signals, *asking)),
            )
            self._start_gang()
            self._captures.keep_books(self._held_things)
            self._views.show(self._held_things, lambda: self._gate.pending)
            self._held_things.callback(self._begin_release)
            self._get_ready_for_failures()
        except BaseException:
            self._start_failed = True
            self._release()
            self._see_off()
            raise

    def _start_gang(self) -> None:
        flush_own()
        self._held_things.callback(self._captures.finish)  # also where the start fails
        self._inherited_env = dict(os.environ)
        with ExitStack() as for_the_start:
            streams = self._captures.lay(open_streams(self.stdouts, self.stderrs, for_the_start))
            LEASE.take()
            self._held_things.callback(LEASE.give_back)
            gang = self._gang = self._make_gang()
            self._held_things.callback(self._close_gang, gang)
            gang.watch(self._gate.wake_fd, self._gate.note_wakeup)
            for rank in range(self.nprocs):
                if gang.make_room(self._interrupted):
                    self._start_worker(gang, rank, streams[rank])
            self._get_ready()
            gang.started(self._interrupted)
            self._captures.started(gang)

    def _get_ready(self) -> None:
        """Import what comes next, while the guardian and the workers come to be."""
        self._captures.get_ready()
        self._views.get_ready()
        import procession.multiprocessing.ends
        import procession.multiprocessing.results  # noqa: F401

    def _get_ready_for_failures(self) -> None:
        """Import what tells of them, while there is no hurry; a gang that has ended needs none of it."""
        gang = self._running_gang()
        gang.catch_up()
        if gang.unharmed:
            import procession.multiprocessing.failures  # noqa: F401

    def _make_gang(self) -> Gang:
        guardian = self._borrow_guardian()
        self._run_id = guardian.run_id
        guardian.use_cgroup(self._make_leaf())
        server = self._server()
        if server is not None:
            server.give(guardian)
        # What the launcher needs from here on it imports while guardian and server come to be.
        from procession._loop.gang import Gang

        return Gang(
            guardian,
            self.error_files,
            self._supervision.shutdown_timeout,
            exclusive=self._supervision.exclusive,
            judge=judge_server,
            until=self._supervision.until,
        )

    def _make_leaf(self) -> Leaf | None:
        if self._supervision.isolate != "cgroup":
            return None
        from procession._guardian.isolation import own_cgroup

        leaf = own_cgroup(self._run_id)
        self._held_things.callback(leaf.remove)
        return leaf

    def _borrow_guardian(self) -> Guardian:
        kept = self._kept_guardian()
        if kept is None:
            guardian = self._spawn_guardian()
            self._held_things.callback(guardian.close)
            self._own_guardian = guardian
            return guardian
        guardian = kept.lend(self._supervision.isolate)
        self._held_things.callback(lambda: kept.take_back(swept=self._swept))
        return guardian

    def _kept_guardian(self) -> KeptGuardian | None:
        wishes = self._supervision
        return wishes.fork_server.kept if wishes.fork_server else wishes.guardian

    def _close_gang(self, gang: Gang) -> None:
        from procession._loop.machine import Phase

        self._swept = gang.phase is Phase.ENDED and not gang.guardian_lost
        gang.close()

    def _begin_release(self) -> None:
        """What goes on by itself while the rest is waited for: the ends of the guardian and the views."""
        self._captures.finish()  # before the views end, which show what it has written
        self._views.begin_end()  # before the guardian, which takes this processor when it is woken
        if self._own_guardian is not None:
            self._own_guardian.dismiss()

    def _finish(self) -> RunProcsResult:
        gang = self._running_gang()
        self._release()
        if gang.guardian_lost:
            raise GuardianLostError(
                f"the guardian of {self.name!r} (run {self._run_id}) was killed; "
                "its workers have been killed and reaped"
            )
        from procession.multiprocessing.ends import failures_of, ledger_of
        from procession.multiprocessing.results import RunProcsResult

        failures, stopped = failures_of(gang, self.stdouts, self.stderrs)
        ledger = ledger_of(gang, stopped.keys())
        ended = sum(fate.exitcode is not None for fate in ledger.workers)
        values = self._return_values(failures, stopped) if ended == self.nprocs else {}
        outs, errs, dropped = self.stdouts, self.stderrs, self._captures.dropped
        return RunProcsResult(values, failures, outs, errs, stopped, ledger, dropped)

    def _release(self) -> None:
        # Last in, first out: tails drain, the guardian goes, the subreaper flag and the handlers
        # are put back. Whoever comes second finds it done.
        with self._ending:
            self._held_things.close()

    def _see_off(self) -> None:
        """Have no thread left, as after a `close`; but in the command, which ends itself."""
        if not self._supervision.exclusive:
            self._views.see_off()

    def _running_gang(self) -> Gang:
        if self._gang is None:
            raise ValueError("this context has not been started; call start() first")
        if self._start_failed:
            raise ValueError("the start of this context has failed: nothing of it runs or has run")
        return self._gang

    def _interrupted(self) -> bool:
        return self._gate.called_away

    def _take_hurry(self) -> bool:
        return bool(self._gate.take_pending())

    def _ask(self, signum: int) -> bool:
        """Let a terminating signal ask first, where a stop file says so and no stop has begun."""
        stop_file, gang = self._supervision.stop_file, self._gang
        if stop_file is None or gang is None or not gang.unharmed:
            return False
        asks = stop_file.hear(signum)
        if asks:
            gang.forward(signum)
        return asks

    def _forward(self, signum: int) -> None:
        name, stop_file = signal.Signals(signum).name, self._supervision.stop_file
        asks = stop_file is not None and name in stop_file.signals
        if stop_file is not None:
            stop_file.hear(signum)  # first: who is told by the signal may look at once
        deaf = self._gang.forward(signum) if self._gang is not None else []
        if deaf and not asks:
            logger.warning(
                "%s was not passed on to local ranks %s: they do not catch it", name, deaf
            )
