"""Processes that behave badly, each in one way, as functions and as programs.

A function of this module can be the function of a worker (spawn, fork, forkserver); as a program it
is what `command` returns. Each says one line, ``ready NAME PID [PID …]`` (its own pid, then those of
what it has started and left), when it is as bad as it will get: into the FIFO named by ``tell``, which
a `RollCall` reads, or to its standard output. Nobody of them lives longer than `LIFETIME`, also where nobody
reads: the open of a FIFO waits for its reader (fifo(7)). One that is stopped ends when it is continued.

Standard library only, and no import of procession: a child starts in 10 ms.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

__all__ = [
    "LIFETIME",
    "command",
    "daemonizes",
    "dies_by",
    "double_forks",
    "forks_for_ever",
    "holds_stdout",
    "ignores_term",
    "leaves_by_setsid",
    "main",
    "obeys",
    "stops_itself",
]

LIFETIME = 600  # seconds after which each of these ends by itself, should nobody end it


def obeys(tell: str = "") -> NoReturn:
    """Wait, and die of the first signal: the good child to compare with."""
    _ready("obeys", tell)
    _wait()


def ignores_term(tell: str = "") -> NoReturn:
    """Ignore TERM, INT, HUP and QUIT: only SIGKILL ends it."""
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(signum, signal.SIG_IGN)
    _ready("ignores_term", tell)
    _wait()


def leaves_by_setsid(tell: str = "") -> NoReturn:
    """Have a child that leads a session of its own, where no signal to our group reaches it."""
    child = _forked(_wait, new_session=True)
    _ready("leaves_by_setsid", tell, child)
    _wait()


def double_forks(tell: str = "") -> NoReturn:
    """Have a grandchild whose parent has ended: an orphan in our session and group."""
    _ready("double_forks", tell, _orphan(_wait, new_session=False))
    _wait()


def daemonizes(tell: str = "") -> NoReturn:
    """Have a daemon: orphaned, a session of its own, an empty environment, no fd of ours."""
    _ready("daemonizes", tell, _orphan(_become_daemon, new_session=True, execs=True))
    _wait()


def stops_itself(tell: str = "") -> NoReturn:
    """Say ready, then stop (SIGSTOP): SIGTERM waits until somebody sends SIGCONT."""
    _ready("stops_itself", tell)
    os.kill(os.getpid(), signal.SIGSTOP)
    _wait()


def forks_for_ever(tell: str = "", rate: float = 50) -> NoReturn:
    """Keep a chain of orphans going: each leads a session, forks the next, and ends.

    Args:
        tell: Where to say ready.
        rate: Forks a second; one link of the chain is alive at a time.
    """
    _forked(lambda: _chain(1 / rate), new_session=True)
    _ready("forks_for_ever", tell)
    _wait()


def holds_stdout(tell: str = "") -> NoReturn:
    """End with 0, and leave a child that holds our stdout and stderr open."""
    child = _forked(_wait, new_session=False)
    _ready("holds_stdout", tell, child)
    os._exit(0)


def dies_by(signum: int, tell: str = "") -> NoReturn:
    """Die of a signal, by its default action and without a core file.

    Args:
        signum: The signal's number; one whose default action kills.
        tell: Where to say ready.
    """
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if signum != signal.SIGKILL:
        signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signum])
    _ready("dies_by", tell)
    os.kill(os.getpid(), signum)
    _wait()


_WITHOUT_NUMBER: dict[str, Callable[[str], NoReturn]] = {
    "obeys": obeys,
    "ignores_term": ignores_term,
    "leaves_by_setsid": leaves_by_setsid,
    "double_forks": double_forks,
    "daemonizes": daemonizes,
    "stops_itself": stops_itself,
    "forks_for_ever": forks_for_ever,
    "holds_stdout": holds_stdout,
}


def command(child: Callable[..., NoReturn], *numbers: int, tell: str = "") -> list[str]:
    """Return the argv that runs a function of this module as a program.

    Args:
        child: The function.
        numbers: The signal of ``dies_by``; nothing for the others.
        tell: A FIFO for the ready line; stdout where empty.
    """
    words = map(str, numbers)
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), child.__name__, tell, *words]


def main(name: str, tell: str = "", *numbers: str) -> NoReturn:
    """Be the child of this name: ``children.py NAME [TELL [SIGNUM]]``."""
    if name == "dies_by":
        dies_by(int(numbers[0]), tell)
    _WITHOUT_NUMBER[name](tell)


def _ready(name: str, tell: str, *others: int) -> None:
    """Write the line at once: a pipe takes so few bytes whole (pipe(7), PIPE_BUF)."""
    _limit_life()
    line = " ".join(["ready", name, *map(str, (os.getpid(), *others))]) + "\n"
    fd = os.open(tell, os.O_WRONLY | os.O_CLOEXEC) if tell else 1
    os.write(fd, line.encode())
    if tell:
        os.close(fd)


def _wait() -> NoReturn:
    _limit_life()
    while True:
        signal.pause()


def _limit_life() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    signal.alarm(LIFETIME)


def _forked(life: Callable[[], None], *, new_session: bool, execs: bool = False) -> int:
    """Return the pid of a child that lives ``life``, once it is in its session and has exec'd."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if new_session:
                os.setsid()
            if not execs:
                os.close(writer)  # else exec does it
            life()
        finally:
            os._exit(1)
    os.close(writer)
    os.read(reader, 1)  # its end of file is the child's word that it is where it should be
    os.close(reader)
    return pid


def _orphan(life: Callable[[], None], **how: bool) -> int:
    """Return the pid of a grandchild that lives ``life``, once its parent has ended."""
    reader, writer = os.pipe()

    def beget() -> None:
        os.write(writer, str(_forked(life, **how)).encode())
        os._exit(0)

    parent = _forked(beget, new_session=False)
    pid = int(os.read(reader, 20))
    os.waitpid(parent, 0)
    os.close(reader)
    os.close(writer)
    return pid


def _become_daemon() -> None:
    os.chdir("/")
    quiet = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(quiet, standard)
    for fd in map(int, os.listdir("/dev/fd")):
        with contextlib.suppress(OSError):  # the listing's own is closed already
            os.set_inheritable(fd, fd < 3)
    os.execvpe("sleep", ["sleep", str(LIFETIME)], {})


def _chain(seconds: float) -> None:
    end = time.monotonic() + LIFETIME
    while time.monotonic() < end:
        # The bound of the rate: nothing happens here to wait for.
        select.select([], [], [], seconds)
        if os.fork():
            os._exit(0)
        os.setsid()


if __name__ == "__main__":
    main(*sys.argv[1:])
