"""The two ways a guardian starts a worker: exec a program, or fork itself and run a function."""

from __future__ import annotations

import fcntl
import os
import sys

from procession._os import lean
from procession._os.kernel import die_with

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import NoReturn, Protocol

    from procession._os.cgroup import Leaf

    Work = Callable[[int, Sequence[int]], int]

    class Starter(Protocol):
        """Starts one worker and says its pid; raises OSError with the filename that failed."""

        def start(self, order: Order, private: Iterable[int]) -> int:
            """Start the worker of ``order``; a forked one closes the fds in ``private``."""

        def seal(self, private: Iterable[int]) -> None:
            """Take note that no further worker will be started."""

        def use_cgroup(self, leaf: Leaf) -> None:
            """Have a forked worker go there before it does anything."""


LOCK_FD = 3  # where a worker has the run's lock, behind stdin, stdout and stderr


class Order:
    """What to start. ``fds`` are the worker's 0, 1, 2 and those behind ``LOCK_FD``, in order."""

    __slots__ = ("argv", "env", "fds", "programs", "rank")

    def __init__(
        self,
        rank: int,
        programs: Sequence[str],
        argv: Sequence[str],
        env: dict[str, str],
        fds: Sequence[int],
    ) -> None:
        self.rank = rank
        self.programs = programs
        self.argv = argv
        self.env = env
        self.fds = fds


class ProgramStarter:
    """Starts programs by posix_spawn: vfork-quick, free of races, and exec's errno comes back."""

    def __init__(self, ignored: Iterable[int], lock: int) -> None:
        """Store what all workers have in common.

        Args:
            ignored: Signals that workers go on ignoring, as the launcher found them.
            lock: The run's, which a worker inherits as ``LOCK_FD``.
        """
        self._lock = lock
        deaf = {*lean.DEAF, *lean.IGNORED_BY_PYTHON}
        self._defaults = tuple(deaf - set(ignored))

    def start(self, order: Order, private: Iterable[int]) -> int:  # noqa: ARG002 - all are CLOEXEC
        """Exec the first of ``order.programs`` that is there, in a session of its own."""
        given = with_lock(order.fds, self._lock)
        fds = lift(given)
        try:
            return self._spawn_first(
                order, [(os.POSIX_SPAWN_DUP2, fd, i) for i, fd in enumerate(fds)]
            )
        finally:
            close_all(set(fds) - set(given))

    def seal(self, private: Iterable[int]) -> None:
        """Nothing to do: an exec'd guardian holds nothing of the caller's."""

    def use_cgroup(self, leaf: Leaf) -> None:
        """Nothing to do: between fork and exec nothing of ours runs, so the guardian moves them."""

    def _spawn_first(self, order: Order, actions: Sequence[tuple[int, int, int]]) -> int:
        # As the shell and subprocess search PATH: absence goes on to the next directory, and any
        # other failure on the way is a better explanation than the last "not found".
        error: OSError | None = None
        for program in order.programs:
            try:
                os.stat(program)  # a look costs a hundredth of a process that finds nothing to exec
                return os.posix_spawn(
                    program,
                    list(order.argv),
                    order.env,
                    file_actions=actions,
                    setsid=True,
                    setsigmask=(),
                    setsigdef=self._defaults,
                )
            except (FileNotFoundError, NotADirectoryError) as missing:
                error = error or missing
            except OSError as failure:
                error = failure
        raise error or FileNotFoundError(2, os.strerror(2), order.argv[0])


class ForkStarter:
    """Starts functions by forking this process."""

    def __init__(self, ignored: Iterable[int], lock: int, work: Work) -> None:
        """Store what the forked worker does.

        Args:
            ignored: Signals that workers go on ignoring.
            lock: The run's, which a worker inherits.
            work: Gets the rank and the fds beyond 0, 1 and 2, runs the function, and returns the
                exit status.
        """
        self._ignored = frozenset(ignored)
        self._lock = lock
        self._work = work
        self._leaf: Leaf | None = None

    def start(self, order: Order, private: Iterable[int]) -> int:
        """Fork; the child takes its session, fds, signals and environment, and runs the work."""
        # Until the worker has its own dispositions it ignores what we do. A signal that is blocked is
        # kept for it, also while it is ignored (kernel/signal.c, sig_ignored).
        mask = lean.block_all()
        guardian = os.getpid()
        try:
            pid = os.fork()
            if pid == 0:
                self._be_worker(order, private, guardian)
        finally:
            lean.set_mask(mask)
        return pid

    def seal(self, private: Iterable[int]) -> None:
        """Let go of every fd of the caller's: a pipe of theirs must not stay open through us."""
        quiet = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(quiet, standard)
        keep = {0, 1, 2, self._lock, *private}
        close_all(fd for fd in open_fds() if fd not in keep)

    def use_cgroup(self, leaf: Leaf) -> None:
        """Go there in each worker: what it forks is then in it too, however soon."""
        self._leaf = leaf

    def _be_worker(self, order: Order, private: Iterable[int], guardian: int) -> NoReturn:
        status = 1
        try:
            die_with(guardian)
            os.setsid()
            if self._leaf is not None:
                self._leaf.add(os.getpid())
            close_all(private)
            beyond = self._place(order.fds)
            lean.restore_defaults(self._ignored)
            lean.unblock_all()
            os.environ.clear()
            os.environ.update(order.env)
            status = self._work(order.rank, beyond)
        except BaseException:  # noqa: BLE001 - a forked child must never return into the guardian's loop
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)

    def _place(self, fds: Sequence[int]) -> Sequence[int]:
        """Put the fds where the worker looks for them; return those that only its work knows of."""
        # All others keep their numbers: a copy of the caller must not lose one of the caller's fds.
        place(fds[:LOCK_FD])
        os.set_inheritable(self._lock, True)
        return fds[LOCK_FD:]


def with_lock(fds: Sequence[int], lock: int) -> list[int]:
    """Put the run's lock among a worker's fds, behind the three standard ones. Pure."""
    return [*fds[:LOCK_FD], lock, *fds[LOCK_FD:]]


def lift(fds: Sequence[int]) -> list[int]:
    """Return ``fds`` with each that lies among the targets 0…n-1 moved above them.

    dup2 onto the targets, one after another, would otherwise overwrite a source before its turn.
    """
    floor = len(fds)
    return [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, floor) if fd < floor else fd for fd in fds]


def place(fds: Sequence[int]) -> None:
    """Make fds 0, 1, … of this process copies of ``fds``, and close those."""
    sources = lift(fds)
    for target, fd in enumerate(sources):
        os.dup2(fd, target)
    close_all({*sources, *fds} - set(range(len(fds))))


def close_all(fds: Iterable[int]) -> None:
    """Close each fd; one that is closed already is as it should be."""
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            continue


def open_fds() -> list[int]:
    """Return the open fds of this process."""
    for directory in ("/proc/self/fd", "/dev/fd"):
        try:
            return [int(name) for name in os.listdir(directory)]
        except OSError:
            continue
    return list(range(os.sysconf("SC_OPEN_MAX")))
