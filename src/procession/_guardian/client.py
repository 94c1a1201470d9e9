"""The launcher's side of a guardian: how one comes to be, and what it is asked."""

from __future__ import annotations

import fcntl
import math
import os
import select
import signal
import sys
import time
import warnings
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, NoReturn

from procession._guardian.channel import Channel
from procession._guardian.pulse import Pulse, Remedy
from procession._guardian.sentry import Sentry
from procession._guardian.sweep import send
from procession._os import lean
from procession._os.kernel import continue_after_parent, open_pidfd, set_subreaper
from procession._os.parent import Parent
from procession._os.proc import stat
from procession._os.runlock import handle_of, identity, make_lock
from procession._os.standard import fill_standard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from procession._guardian.isolation import Report
    from procession._guardian.protocol import Message
    from procession._guardian.starters import Work
    from procession._os.cgroup import Leaf
    from procession._os.circumstances import Circumstances

SERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "serve.py")

# Where an exec'd guardian finds its channel, the run's lock, and where to report on its namespace.
_CHANNEL_FD, _LOCK_FD, _REPORT_FD = 3, 4, 5
_FAREWELL = 1.0  # seconds for a guardian that was killed to be gone; in state D it may never be


class Guardian:
    """A guardian as the launcher sees it. It guards one gang at a time and ends with ``close``."""

    def __init__(self, pid: int, sock: lean.socket, run_id: str, lock: int) -> None:
        self.pid = pid
        self.run_id = run_id
        self.channel = Channel(sock)
        self._lock = lock
        self.lock_id = identity(lock)
        self._wards: set[int] = set()  # pids: the fork server, and dead workers that it is to reap
        self._dismissed = self._closed = False
        self._leaf: Leaf | None = None
        self._mourner: Callable[[], None] | None = None
        self._sentry = Sentry(pid, self._note_end)

    def on_loss(self, mourner: Callable[[], None] | None) -> None:
        """Have ``mourner`` called, in a thread of its own, when the guardian ends unasked."""
        self._mourner = mourner

    def start(
        self,
        rank: int,
        programs: Sequence[str],
        argv: Sequence[str],
        env: Mapping[str, str],
        fds: Sequence[int],
    ) -> None:
        """Ask for one worker; answered by ``started`` or ``failed``. ``fds`` may be closed after."""
        words = (rank, tuple(programs), tuple(argv), dict(env), len(fds))
        self.channel.send(("start", *words), fds)
        self._drain()

    def serve(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        modules: Sequence[str],
        settings: Mapping[str, object],
        spares: int = 0,
    ) -> None:
        """Have workers forked from a server that has imported ``modules``.

        Args:
            argv: Starts the interpreter; ``SERVER`` is its script.
            env: The environment in which the imports happen.
            modules: Their names.
            settings: What the workers are to be, see ``_worker/reborn.py``.
            spares: In place of the server, so many interpreters that have done so and wait.
        """
        self.ask("serve", tuple(argv), dict(env), tuple(modules), dict(settings), spares)

    def renew(self) -> bool:
        """Have the guardian take the next gang; False if it is gone."""
        self.ask("renew")
        return self._await(select.POLLIN, lambda: ("renewed",) in self.receive())

    def follow(self, place: Circumstances) -> None:
        """Have it and its servers go where this process is now; workers inherit from them."""
        here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", 0))
        self.channel.send(("follow", place), [here])
        self._drain()
        os.close(here)

    def ask(self, *message: object) -> None:
        """Send a message that carries no fds."""
        self.channel.send(message)
        self._drain()

    def acknowledge(self, pids: list[int]) -> None:
        """Let the guardian reap workers whose deaths have been taken note of."""
        self._wards.update(pids)
        self.ask("reap", pids)

    def use_cgroup(self, leaf: Leaf | None) -> None:
        """Have the workers to come put into a cgroup, by which they can be killed; None for none."""
        self._leaf = leaf
        if leaf is not None:
            self.ask("cgroup", leaf.path)

    def mourn(self) -> None:
        """See the end of a guardian that is lost: what it guarded is its parent's then, or a cgroup's."""
        self.see_off()
        if self._leaf is not None:
            self._leaf.kill()

    def look_after(self, pulse: Pulse) -> Remedy | None:
        """Continue a silent guardian and ask it for a sign, or kill it, as its pulse says.

        The kernel closes the channel of one that was killed.
        """
        now = time.monotonic()
        if not pulse.is_late(now):
            return None
        from procession._os.vitals import vitals

        remedy = pulse.remedy(now, vitals(self.pid))
        if remedy is Remedy.ROUSE:
            send(self.pid, signal.SIGCONT)
            self.channel.send(("ping",))
        elif remedy is Remedy.KILL:
            send(self.pid, signal.SIGKILL)
        return remedy

    def receive(self) -> list[Message]:
        """Return what the guardian has said since; ``channel.closed`` tells of its end."""
        messages = [message for message, _ in self.channel.receive()]
        for message in messages:
            if message[0] == "server":
                self._wards |= {message[2]["pid"]} if "pid" in message[2] else set()
        return messages

    def dismiss(self) -> None:
        """Have the guardian sweep and end, and do not wait for it yet."""
        if not self._dismissed:
            self._dismissed = True
            self.channel.close()
            os.close(self._lock)

    def close(self) -> None:
        """Let the guardian sweep and end, and reap it; one that does not is continued and killed."""
        self.dismiss()
        if self._closed:
            return
        self._closed = True
        gone = self.see_off()
        status = _status_of(self.pid, 0 if gone else os.WNOHANG)
        if gone:
            self._sentry.join()
        if status != 0:
            self._bury_wards()

    def see_off(self) -> bool:
        """Wait for its end, of which it is told or which has begun, and leave it to be reaped.

        One that is late has still to end what it guards. One that has let go of its channel has not yet handed
        on its children (kernel/exit.c: exit_files() is a few steps before exit_notify()).

        Returns:
            False if it has been killed and does not die, as in state D.
        """
        pidfd, pulse = open_pidfd(self.pid), Pulse()
        if pidfd is None:
            with suppress(ChildProcessError):  # somebody else has reaped it
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            return True
        try:
            while not _readable(pidfd, pulse.due(time.monotonic()) - time.monotonic()):
                if self.look_after(pulse) is Remedy.KILL:
                    return _readable(pidfd, _FAREWELL)
            return True
        finally:
            os.close(pidfd)

    def _note_end(self) -> None:
        mourner = self._mourner
        if mourner is not None and not self._dismissed:
            mourner()

    def _bury_wards(self) -> None:
        """Reap what has fallen to us, a subreaper, from a guardian that was killed."""
        for pid in self._wards:
            facts = stat(pid)
            if facts is not None and facts.parent == os.getpid():
                send(pid, signal.SIGKILL)
                _status_of(pid)

    def _drain(self) -> None:
        """Wait until the guardian has taken everything; it never blocks on us, so it will."""
        self._await(select.POLLOUT, self._has_sent)

    def _has_sent(self) -> bool:
        self.channel.flush()
        return not self.channel.clogged

    def _await(self, event: int, done: Callable[[], bool]) -> bool:
        """Wait for the guardian, which may need to be continued or killed; False if it is gone."""
        poller, pulse = select.poll(), Pulse()
        poller.register(self.channel, event)
        while not done():
            if self.channel.closed:
                return False
            wait = pulse.due(time.monotonic()) - time.monotonic()
            if poller.poll(max(0.0, wait) * 1000):
                pulse.heard()
            self.look_after(pulse)
        return True


def spawn_guardian(run_id: str, isolate: str = "") -> Guardian:
    """Exec a guardian: it inherits cwd, umask, limits, affinity and niceness from this moment.

    ``posix_spawn`` keeps the caller's memory, locks and threads out of it. TERM and its kin are
    blocked until it ignores them by itself.

    Args:
        run_id: The run's id, by which its processes are known.
        isolate: ``pidns`` for a PID namespace of its own, of a caller that is a subreaper.

    Raises:
        OSError: It cannot be started.
        UsageError: There are no such namespaces here.
    """
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
    with ExitStack() as always, ExitStack() as on_failure:
        ours, theirs, lock = _ties(run_id, always, on_failure)
        quiet = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        always.callback(os.close, quiet)
        report = _report(always) if isolate == "pidns" else None
        pid = os.posix_spawn(
            sys.executable,
            [
                sys.executable,
                "-I",
                "-S",
                program,
                str(os.getpid()),
                run_id,
                *(["pidns"] if report else []),
            ],
            {**os.environ, "PROCESSION_RUN_ID": run_id},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, quiet, 0),
                (os.POSIX_SPAWN_DUP2, quiet, 1),
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), _CHANNEL_FD),
                (os.POSIX_SPAWN_DUP2, lock, _LOCK_FD),
                *([(os.POSIX_SPAWN_DUP2, report.pen, _REPORT_FD)] if report else []),
            ],
            setsid=True,
            setsigmask=lean.DEAF,
        )
        pid = report.guardian(pid) if report else pid
        on_failure.pop_all()
    return Guardian(pid, ours, run_id, lock)


def fork_guardian(run_id: str, work: Work, isolate: str = "") -> Guardian:
    """Fork the caller into a guardian (a nanny) that forks workers with the caller's memory.

    Args:
        run_id: The run's id, by which its processes are known.
        work: What a worker runs; it may be a closure, since nothing of it is pickled.
        isolate: As of ``spawn_guardian``.
    """
    launcher = os.getpid()
    with ExitStack() as always, ExitStack() as on_failure:
        ours, theirs, lock = _ties(run_id, always, on_failure)
        report = _report(always) if isolate == "pidns" else None
        with warnings.catch_warnings():
            # Python >= 3.12 warns of forking beside threads. The child runs system calls only, and
            # the workers are what the caller asked for by start_method="fork".
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            ours.close()
            _be_nanny(theirs, lock, work, launcher, report)
        pid = report.guardian(pid) if report else pid
        on_failure.pop_all()
    return Guardian(pid, ours, run_id, lock)


def _be_nanny(
    sock: lean.socket, lock: int, work: Work, launcher: int, report: Report | None
) -> NoReturn:
    # A copy of a process that may have threads: their locks may be held for ever. Only system calls
    # and our own code from here on; no logging, no import that has not happened, no collector that
    # would run the caller's finalizers.
    import gc

    from procession._guardian.starters import ForkStarter
    from procession._guardian.warden import Warden

    gc.disable()
    status = 1
    try:
        fill_standard()
        os.setsid()
        ignored = lean.ignored_signals()
        lean.become_deaf()
        parent = Parent(launcher)
        outside = report.isolate() if report else None
        continue_after_parent()
        set_subreaper(True)
        starter = ForkStarter(ignored, handle_of(lock), work)
        Warden(Channel(sock), starter, parent, lock, outside).run()
        status = 0
    finally:
        os._exit(status)


def _report(always: ExitStack) -> Report:
    from procession._guardian.isolation import Report  # before the fork, after which nothing can be

    report = Report(_REPORT_FD + 1)
    always.callback(report.close)
    return report


def _ties(
    run_id: str, always: ExitStack, on_failure: ExitStack
) -> tuple[lean.socket, lean.socket, int]:
    """Return what ties launcher and guardian: the two ends of a channel, and the run's lock.

    They lie above the numbers that workers' streams are copied from: a caller with a closed stdin
    would otherwise find our end there, and hand it to its workers.
    """
    with ExitStack() as made:
        first, second = lean.socketpair()
        made.callback(first.close)
        made.callback(second.close)
        lock = make_lock(run_id)
        made.callback(os.close, lock)
        ours = lean.socket(fileno=_lifted(first.fileno()))
        on_failure.callback(ours.close)
        theirs = lean.socket(fileno=_lifted(second.fileno()))
        always.callback(theirs.close)
        lock = _lifted(lock)
        on_failure.callback(os.close, lock)
        return ours, theirs, lock


def _lifted(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _REPORT_FD + 1)


def _readable(fd: int, seconds: float) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(math.ceil(max(0.0, seconds) * 1000)))


def _status_of(pid: int, flags: int = 0) -> int | None:
    """Reap a child and return its status, as of waitpid(2); None where there is none to be had."""
    try:
        found, status = os.waitpid(pid, flags)
    except ChildProcessError:
        return None
    return status if found else None
