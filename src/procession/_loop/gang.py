"""The shell around the machine: one gang of workers behind one guardian."""

from __future__ import annotations

import math
import os
import select
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from procession._guardian.pulse import Pulse
from procession._guardian.sweep import send, wake_and_send
from procession._loop import machine
from procession._loop.bells import Bells
from procession._loop.fuse import Fuse
from procession._loop.machine import Do, On, Phase, Stop
from procession._loop.takeover import Estate, take_over
from procession._loop.worker import Leftovers, Worker
from procession._os import proc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from procession._guardian.client import Guardian
    from procession._guardian.protocol import Message
    from procession._guardian.sweep import Left
    from procession._os.predicament import Predicament

_MOST_UNBORN = 32  # orders on their way; each holds the worker's fds open in the guardian
_LONGEST_POLL = 2**31 - 1  # milliseconds: what poll(2) takes, a C int


class Gang:
    """Starts workers through a guardian, waits for deaths, stops all, leaves nothing behind."""

    def __init__(
        self,
        guardian: Guardian,
        error_files: Mapping[int, str],
        grace: float,
        *,
        exclusive: bool = False,
        judge: Callable[[str, Mapping[str, Any]], Exception | None] = lambda _state, _report: None,
        until: Callable[[], int] = lambda: 0,
    ) -> None:
        """Store the guardian.

        Args:
            guardian: Starts and reaps the workers.
            error_files: Local rank to the file where the worker would describe its exception.
            grace: Seconds between the death signal and SIGKILL; may be infinite.
            exclusive: This process has no children but the gang's.
            judge: Hears what came of the guardian's fork server (state and report, as in its
                protocol); may return what the start is to fail with.
            until: When all have to be gone, see `Fuse`; asked again and again.
        """
        from procession._loop.witness import Witness  # not before a gang starts

        self.workers: dict[int, Worker] = {}
        self.leftovers = Leftovers()
        self.predicaments: dict[int, Predicament] = {}  # why the stuck do not die, by pid
        self.guardian_lost = False
        self.first_signal_ns: int | None = None
        # Once: failures are put in order by the wall-clock times that this makes of the guardian's.
        self.since_boot_ns = time.time_ns() - time.monotonic_ns()
        self.killed_ns: int | None = None  # when the grace was over
        self._guardian = guardian
        self._error_files = error_files
        self._estate = Estate(guardian.run_id, guardian.lock_id, exclusive=exclusive)
        self._state = machine.State(grace)
        self._pulse = Pulse()
        self._fuse = Fuse(guardian, until)
        self._witness = Witness()
        self._refused: Exception | None = None
        self._judge = judge
        self._asked_for: dict[int, str] = {}  # rank -> program, as it was given
        self._seen_dead: list[int] = []  # pids that the guardian may reap
        self._readers: dict[int, Callable[[], None]] = {}
        self._bells = Bells()
        self._lock = threading.RLock()  # a handle may look while another thread waits
        self.watch(guardian.channel.fileno(), self._hear_guardian)
        guardian.on_loss(self._mourn)

    @property
    def phase(self) -> Phase:
        """Where the gang stands."""
        return self._state.phase

    @property
    def failing(self) -> bool:
        """Whether a worker has died badly."""
        return self._state.failed

    @property
    def signum(self) -> int:
        """What the stop signals first."""
        return self._state.signum

    def watch(self, fd: int, reader: Callable[[], None]) -> None:
        """Call ``reader`` in the loop whenever ``fd`` is readable."""
        self._readers[fd] = reader

    def unwatch(self, fd: int) -> None:
        """Forget ``fd``, before it is closed."""
        self._readers.pop(fd, None)

    def close(self) -> None:
        """Let go of the fds, and of those that are watched; a gang that has not ended is given up."""
        self._guardian.on_loss(None)
        with self._lock:
            if self.phase is Phase.ENDED and not self.guardian_lost:
                self._fuse.put_out()
            self._state = self._state._replace(phase=Phase.ENDED)
            self._readers.clear()  # a thread that one of them has just woken finds nothing to read
            self._bells.close()

    # ---- starting

    def start(
        self,
        rank: int,
        programs: Sequence[str],
        argv: Sequence[str],
        env: Mapping[str, str],
        fds: Sequence[int],
    ) -> None:
        """Ask for the worker of ``rank``; ``fds`` may be closed when this returns."""
        self._asked_for[rank] = argv[0]
        self._tend_fuse()
        self._guardian.start(rank, programs, argv, env, fds)

    def make_room(self, interrupted: Callable[[], bool]) -> bool:
        """Wait until few workers are asked for that do not run yet: each order holds fds open.

        Returns:
            False if no more are to be asked for: one was refused, or ``interrupted`` says so.
        """
        while self._unborn >= _MOST_UNBORN and not self._ill_fated(interrupted):
            self._turn(math.inf)
        return not self._ill_fated(interrupted)

    def started(self, interrupted: Callable[[], bool] = lambda: False) -> None:
        """Wait until every worker runs.

        Args:
            interrupted: Asked after every wakeup; True ends the wait, for the gang to be stopped.

        Raises:
            Exception: The first refusal; an OSError of a worker has its ``filename`` and
                ``local_rank``. All workers that did start are gone again.
        """
        while self._unborn and not self._ill_fated(interrupted):
            self._turn(math.inf)
        if self._refused:
            self.stop(signal.SIGKILL, 0)
            raise self._refused
        if not self._unborn and not interrupted():
            self._guardian.ask("sealed")
            with self._lock:
                self._apply(On.ALL_STARTED)

    def _ill_fated(self, interrupted: Callable[[], bool]) -> bool:
        return bool(self._refused) or not self.unharmed or interrupted()

    @property
    def _unborn(self) -> int:
        return len(self._asked_for) - len(self.workers)

    @property
    def unharmed(self) -> bool:
        """True until a stop has begun."""
        return self.phase in (Phase.STARTING, Phase.RUNNING)

    # ---- waiting and stopping

    def wait(self, deadline: float, interrupted: Callable[[], bool]) -> bool:
        """Sleep until the gang has ended: a failure stops it, and the stop is waited for.

        Args:
            deadline: Monotonic time in seconds to give up waiting while nothing has failed.
            interrupted: Asked after every wakeup; True ends the wait.

        Returns:
            True if the gang has ended.
        """
        while self.phase is not Phase.ENDED and not interrupted():
            late = time.monotonic() >= deadline
            self._turn(deadline if self.unharmed else math.inf)
            if late and self.unharmed:
                return False
        return self.phase is Phase.ENDED

    def catch_up(self) -> None:
        """Deal with what has happened, and do not wait."""
        self._turn(-math.inf)

    def stop(self, signum: int, grace: float, again: Callable[[], bool] = lambda: False) -> None:
        """End the gang: ``signum``, at most ``grace`` seconds, SIGKILL; returns when all is gone.

        Args:
            signum: The death signal for the workers.
            grace: Seconds; 0 kills at once, infinity never.
            again: Asked after every wakeup: whether a further termination signal has come.
        """
        self.ask_to_stop(Stop(int(signum), grace))
        while self.phase is not Phase.ENDED:
            self._turn(math.inf)
            if again():
                self.ask_to_stop(None)

    def ask_to_stop(self, how: Stop | None) -> None:
        """Begin such an end, and return; None where a further termination signal has come."""
        with self._lock:
            self._apply(On.STOP_ASKED if how else On.ASKED_AGAIN, how)

    def look(self, worker: Worker, deadline: float) -> bool:
        """Sleep until ``worker`` has ended or ``deadline`` (monotonic seconds); True if it has."""
        late = False
        while worker.exitcode is None and self.phase is not Phase.ENDED and not late:
            late = time.monotonic() >= deadline
            self._turn(deadline)
        return worker.exitcode is not None

    def forward(self, signum: int) -> list[int]:
        """Send ``signum`` to the living workers that catch it; return the ranks that do not."""
        deaf = []
        for worker in self.living():
            if proc.catches(worker.pid, signum):
                send(worker.pid, signum)
            else:
                deaf.append(worker.rank)
        return deaf

    def living(self) -> list[Worker]:
        """Return the workers whose death has not been reported; a signal's handler may ask."""
        return [worker for worker in tuple(self.workers.values()) if worker.exitcode is None]

    # ---- the loop

    def _turn(self, deadline: float) -> None:
        """Sleep until something happens or ``deadline`` (monotonic seconds), and deal with it."""
        due = min(deadline, self._state.deadline, self._pulse_due(), self._tend_fuse())
        left = due - time.monotonic()
        # Rounded up: a poll that returns a fraction of a millisecond early would spin to the deadline.
        timeout = None if left == math.inf else min(math.ceil(max(0.0, left) * 1000), _LONGEST_POLL)
        ready = self._sleep(timeout)
        with self._lock:
            if self.phase is Phase.ENDED:
                return
            self._bells.answer()
            for fd, _ in ready:
                if fd in self._readers:
                    self._readers[fd]()
            if time.monotonic() >= self._state.deadline:
                self._apply(On.GRACE_OVER)
            self._guardian.look_after(self._pulse)

    def _sleep(self, timeout: int | None) -> list[tuple[int, int]]:
        """Poll; several threads may (a poll object serves one at a time, so each has its own)."""
        poller = select.poll()
        with self._lock:
            if self.phase is Phase.ENDED:
                return []
            for fd in (*self._readers, self._bells.mine()):
                poller.register(fd, select.POLLIN)
        return poller.poll(timeout)

    def _pulse_due(self) -> float:
        """When to look after the guardian: only while it owes us an answer."""
        if self.phase in (Phase.RUNNING, Phase.ENDED):
            self._pulse.heard()
            return math.inf
        return self._pulse.due(time.monotonic())

    def _tend_fuse(self) -> float:
        with self._lock:
            return self._fuse.tend()

    def _hear_guardian(self) -> None:
        self._pulse.heard()
        for message in self._guardian.receive():
            self._heard[message[0]](self, message)
        if self._seen_dead:
            self._guardian.acknowledge(self._seen_dead)
            self._seen_dead = []
        if self._guardian.channel.closed:
            self.unwatch(self._guardian.channel.fileno())
            self._apply(On.GUARDIAN_LOST)

    def _mourn(self) -> None:
        """The guardian has ended; nobody may be here to hear it, and be so for hours."""
        with self._lock:
            if self.phase is not Phase.ENDED:
                self._hear_guardian()
                self._apply(On.GUARDIAN_LOST)

    def _heard_started(self, message: Message) -> None:
        _, rank, pid, ns = message
        self.workers[rank] = Worker(rank, pid, ns, self._error_files.get(rank, ""))
        self._apply(On.BORN)

    def _heard_failed(self, message: Message) -> None:
        _, rank, errno = message
        error = OSError(errno, os.strerror(errno), self._asked_for[rank])
        error.local_rank = rank  # type: ignore[attr-defined]
        self._refused = self._refused or error

    def _heard_death(self, message: Message) -> None:
        _, rank, pid, exitcode, core_dumped, ns = message
        worker = self.workers[rank]
        worker.exitcode, worker.core_dumped, worker.died_ns = exitcode, core_dumped, ns
        self._apply(On.DIED_BADLY if exitcode else On.DIED_WELL)
        worker.death_order = len(self.workers) - self._state.living
        if exitcode and not worker.died_of_us(self.signum, killed=bool(self.killed_ns)):
            worker.scene = self._witness.look(worker)
        self._seen_dead.append(pid)

    def _heard_server(self, message: Message) -> None:
        _, state, report = message
        self._refused = self._refused or self._judge(state, report)

    def _heard_quiet(self, message: Message) -> None:
        self.leftovers = Leftovers(message[1])
        self._apply(On.QUIET)

    def _heard_swept(self, message: Message) -> None:
        _, hushed, killed, stuck = message
        self._note_the_stuck(stuck)
        ended = {left[0] for left in (*killed, *stuck)}
        hushed = [left for left in hushed if left[0] not in ended]
        workers = {worker.pid for worker in self.workers.values()}
        killed = [left for left in killed if left[0] not in workers]
        self.leftovers = Leftovers(hushed, killed, stuck)
        self._apply(On.SWEPT)

    _heard: dict[str, Callable[[Gang, Message], None]] = {  # noqa: RUF012
        "started": _heard_started,
        "failed": _heard_failed,
        "death": _heard_death,
        "server": _heard_server,
        "pong": lambda _gang, _message: None,  # that something was heard has been noted
        "quiet": _heard_quiet,
        "swept": _heard_swept,
    }

    def _note_the_stuck(self, stuck: Sequence[Left]) -> None:
        if stuck:
            from procession._os.predicament import predicament

            self.predicaments = {left[0]: predicament(left[0]) for left in stuck}

    # ---- carrying effects out

    def _apply(self, event: On, how: Stop | None = None) -> None:
        self._state, effects = machine.step(self._state, event, time.monotonic(), how)
        if effects or self.phase is Phase.ENDED:
            self._bells.ring()  # others sleep by what held before
        for effect, number in effects:
            self._carry[effect](self, number)

    def _signal(self, signum: int) -> None:
        for worker in self._note_the_doomed():
            worker.signalled_ns = time.monotonic_ns()
            wake_and_send(worker.pid, signum)

    def _hush(self, signum: int, spared: float = 0.0) -> None:
        self._guardian.ask("hush", signum, spared)

    def _part(self, signum: int) -> None:
        self._hush(signum, machine.FAREWELL)

    def _sweep(self, _number: int) -> None:
        self.killed_ns = time.monotonic_ns()
        self._guardian.ask("sweep")

    def _take_over(self, _number: int) -> None:
        self.guardian_lost = True
        self._note_the_doomed()
        self.killed_ns = time.monotonic_ns()
        self._guardian.mourn()
        self.leftovers = Leftovers((), *take_over(self.living(), self._estate))
        self._note_the_stuck(self.leftovers.stuck)

    _carry: dict[Do, Callable[[Gang, int], None]] = {  # noqa: RUF012
        Do.SIGNAL: _signal,
        Do.HUSH: _hush,
        Do.PART: _part,
        Do.SWEEP: _sweep,
        Do.TAKE_OVER: _take_over,
    }

    def _note_the_doomed(self) -> list[Worker]:
        """Return the living workers that no signal of ours can have reached yet."""
        untouched = [worker for worker in self.living() if not worker.signalled_ns]
        for worker in untouched:
            worker.doomed = proc.is_exiting(worker.pid)
        self.first_signal_ns = self.first_signal_ns or time.monotonic_ns()
        return untouched
