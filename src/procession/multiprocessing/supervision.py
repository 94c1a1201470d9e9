"""How a gang is looked after: what torch keeps in the environment is an argument here."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from procession._log import Logger
from procession.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from procession._guardian.kept import KeptGuardian
    from procession._logs.look import Look
    from procession.multiprocessing.context import PContext
    from procession.multiprocessing.fork_server import ForkServer
    from procession.multiprocessing.stop_file import StopFile

__all__ = ["LogBooks", "SignalException", "Supervision", "signal_exception", "signal_numbers"]

logger = Logger(__name__)

_ISOLATIONS = ("", "pidns", "cgroup")
_TERMINATING = "SIGTERM,SIGINT,SIGHUP,SIGQUIT"


class SignalException(Exception):  # noqa: N818 - torch's name
    """The launcher got a terminating signal; raised in the code that waits for the workers.

    Attributes:
        sigval: The signal.
        context: The context whose start it came into, None otherwise. Its workers have been
            stopped, with their grace; ``context.wait(0)`` tells what came of them.
    """

    def __init__(self, msg: str, sigval: signal.Signals) -> None:
        super().__init__(msg)
        self.sigval = sigval
        self.context: PContext | None = None


class LogBooks(NamedTuple):
    """What is kept beside the log files of a gang.

    Every captured stream gets an index, which tells `procession logs` its times.

    Args:
        limit: Bytes of each stream that may stay on the disk, None for all. The oldest are released.
        say: Is told when space runs out; it must not block.
    """

    limit: int | None
    say: Callable[[str], None]


@dataclass(frozen=True)
class Supervision:
    """How a gang is looked after.

    Args:
        shutdown_timeout: Seconds of grace between the death signal and SIGKILL on every path that
            ends a gang; 0 kills at once, ``math.inf`` never.
        signals_to_handle: Signals to the launcher that raise ``SignalException``; one that is
            ignored when the gang starts stays ignored.
        forward_signals: Signals that are passed on to the workers that catch them, and end nothing.
        stop_file: How workers are asked to end without a signal to them; ``PROCESSION_STOP_FILE`` of
            every worker. Without one the variable is the caller's own, if it has it.
        run_id: ``PROCESSION_RUN_ID`` of every worker; a random one where empty. Gangs may share one; then
            `procession reap` takes the run for one that goes on while anybody looks after one of them.
        exclusive: This process starts nothing but the gang, so that whatever becomes its child is
            the gang's. The command sets it; a library user's process may have children of its own.
        guardian: One that outlives the gang: the command starts it before its own imports, which
            saves the 20 ms that one needs to be ready, and keeps it over all attempts.
        preload: Names of modules that are imported once, in a server from which the workers are
            forked; for functions with ``start_method="forkserver"``. docs/functions.md says which
            modules cannot be.
        spares: In place of that server, so many interpreters that have imported ``preload``, each of
            which becomes a worker; others take their places while those run.
        fork_server: One that has imported its modules for this gang and others; its run id is the
            gang's.
        books: What is kept beside the log files; None for nothing.
        pipes: Local ranks whose captured output goes through a pipe to its file, for a file system
            that may stall or fill: ``block`` has the worker wait then, ``drop`` drops the oldest lines
            that wait. docs/logs.md says what dies with what.
        tty_rank: The local rank of a binary that gets a terminal of its own, which is that of this
            process as long as it runs; None for none.
        isolate: ``pidns`` puts the gang into a PID namespace of its own, which ends with its
            guardian at the kernel's hand, whoever else is killed; needs root or user namespaces.
            ``cgroup`` puts it into a cgroup of its own, by which the sweep kills at one stroke; needs
            a writable cgroup of version 2. docs/isolation.md says what is different for the workers.
        look: How teed lines look on the console; None as torch shows them.
        until: When all has to be gone, whatever becomes of this process (CLOCK_BOOTTIME ns, 0 for
            never); asked whenever something happens, so that it can be put off.
    """

    shutdown_timeout: float = 30.0
    signals_to_handle: tuple[str, ...] = tuple(_TERMINATING.split(","))
    forward_signals: tuple[str, ...] = ()
    stop_file: StopFile | None = None
    run_id: str = ""
    exclusive: bool = False
    guardian: KeptGuardian | None = None
    preload: tuple[str, ...] = ()
    spares: int = 0
    fork_server: ForkServer | None = None
    books: LogBooks | None = None
    pipes: Mapping[int, str] = field(default_factory=dict)
    tty_rank: int | None = None
    isolate: str = ""
    look: Look | None = None
    until: Callable[[], int] = int  # which returns 0

    def __post_init__(self) -> None:
        """Refuse an isolation that does not exist, and a grace that is none.

        Raises:
            UsageError: Naming what there is.
        """
        if not self.shutdown_timeout >= 0:  # of what is no number, every comparison is false
            raise UsageError(
                f"shutdown_timeout={self.shutdown_timeout!r}: give seconds from 0 up, or math.inf for ever"
            )
        if self.isolate not in _ISOLATIONS:
            raise UsageError(
                f"isolate={self.isolate!r}: give 'pidns' for a PID namespace of the gang's own, "
                "'cgroup' for a cgroup of its own, or '' for none"
            )

    @classmethod
    def from_environment(cls) -> Supervision:
        """Return the defaults as torch's variables change them.

        ``TORCHELASTIC_SIGNALS_TO_HANDLE`` and ``TORCH_ELASTIC_SHUTDOWN_TIMEOUT`` (seconds).
        """
        names = os.environ.get("TORCHELASTIC_SIGNALS_TO_HANDLE", _TERMINATING)
        return cls(
            shutdown_timeout=float(os.environ.get("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "30")),
            signals_to_handle=tuple(name.strip() for name in names.split(",") if name.strip()),
        )


def signal_exception(signum: int) -> SignalException:
    """Return what is raised in the caller's code for that signal."""
    sigval = signal.Signals(signum)
    return SignalException(f"Process {os.getpid()} got signal: {sigval}", sigval=sigval)


def signal_numbers(names: Sequence[str]) -> list[int]:
    """Return the numbers of signals; a name that is none here is warned of."""
    numbers = []
    for name in names:
        number = getattr(signal, name, None)
        if isinstance(number, signal.Signals):
            numbers.append(int(number))
        else:
            logger.warning("cannot handle %s: there is no such signal here", name)
    return numbers
