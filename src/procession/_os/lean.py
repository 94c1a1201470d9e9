"""Sockets and signals as the C modules give them, for the guardian.

``socket`` and ``signal`` wrap these in enums; importing them costs 14 ms of a start that otherwise
takes 25 ms. Only plain numbers and functions leave this module.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found, unused-ignore]
from _socket import (
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SOL_SOCKET,
    socket,
    socketpair,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = [
    "CMSG_SPACE",
    "DEAF",
    "DEFAULT",
    "IGNORE",
    "IGNORED_BY_PYTHON",
    "MSG_CMSG_CLOEXEC",
    "SCM_RIGHTS",
    "SIGCHLD",
    "SIGCONT",
    "SIGHUP",
    "SIGINT",
    "SIGKILL",
    "SIGQUIT",
    "SIGTERM",
    "SOL_SOCKET",
    "become_deaf",
    "block_all",
    "end_after",
    "ignored_signals",
    "restore_defaults",
    "send_by_pidfd",
    "set_mask",
    "settable_signals",
    "socket",
    "socketpair",
    "unblock_all",
]

SIGHUP: int = _signal.SIGHUP
SIGINT: int = _signal.SIGINT
SIGQUIT: int = _signal.SIGQUIT
SIGKILL: int = _signal.SIGKILL
SIGTERM: int = _signal.SIGTERM
SIGCHLD: int = _signal.SIGCHLD
SIGCONT: int = _signal.SIGCONT
IGNORE: int = _signal.SIG_IGN

# What a person or a scheduler sends to end a run, or to warn it: some send it to all processes of a job.
ENDING: tuple[int, ...] = (SIGHUP, SIGINT, SIGQUIT, SIGTERM)
WARNING: tuple[int, ...] = (_signal.SIGUSR1, _signal.SIGUSR2)
DEAF = (*ENDING, *WARNING)
DEFAULT: int = _signal.SIG_DFL

# The interpreter sets these two to SIG_IGN for itself at its start, so that they say nothing about
# what the user asked for (Python/pylifecycle.c, init_signals).
IGNORED_BY_PYTHON: tuple[int, ...] = (_signal.SIGPIPE, _signal.SIGXFSZ)


def send_by_pidfd(pidfd: int, signum: int) -> None:
    """Send ``signum`` to the process of a pidfd (pidfd_send_signal(2)).

    Raises:
        ProcessLookupError: It has ended.
        PermissionError: It belongs to somebody else.
    """
    _signal.pidfd_send_signal(pidfd, signum)


def settable_signals() -> tuple[int, ...]:
    """Every signal number whose disposition a process may set."""
    unsettable = (SIGKILL, _signal.SIGSTOP)
    return tuple(s for s in sorted(_signal.valid_signals()) if s not in unsettable)


def ignored_signals() -> tuple[int, ...]:
    """The signals that were ignored when this process started, by what its dispositions say now."""
    return tuple(
        s
        for s in settable_signals()
        if s not in IGNORED_BY_PYTHON and _signal.getsignal(s) == IGNORE
    )


def become_deaf() -> None:
    """Ignore what would end this process by a signal a person or a scheduler sends; hear the rest.

    SIGCHLD may have been ignored by the caller, which would make the kernel reap our children
    (wait(2), NOTES); a blocked signal would never wake us.
    """
    # Handlers are the caller's code, where we are a copy of it; and `end_after` counts on SIGPROF's default.
    # What is ignored stays so for what is exec'd, C code's (None) for what is forked from us.
    for signum in settable_signals():
        if callable(_signal.getsignal(signum)):
            _signal.signal(signum, DEFAULT)
    for signum in DEAF:
        # None: C code's, faulthandler.register() for one.
        if signum in ENDING or _signal.getsignal(signum) is not None:
            _signal.signal(signum, IGNORE)
    _signal.signal(SIGCHLD, DEFAULT)
    unblock_all()


def end_after(seconds: float) -> None:
    """Have the kernel end this process by SIGPROF once it has worked for so long; the next call puts it off.

    It counts processor time, not that of sleep, and holds also where the interpreter does not come back to
    a line of ours. No child inherits it (setitimer(2)). The first process of a PID namespace is
    spared by the kernel (pid_namespaces(7)).

    Args:
        seconds: Of processor time, from now on.
    """
    _signal.setitimer(_signal.ITIMER_PROF, seconds)


def restore_defaults(ignored: frozenset[int]) -> None:
    """Give a forked worker the dispositions a fresh interpreter has; ``ignored`` stay ignored.

    Handlers that no Python code set (``getsignal`` gives None: faulthandler's) are left in place.
    """
    _signal.set_wakeup_fd(-1)
    for signum in settable_signals():
        if signum in ignored:
            _signal.signal(signum, IGNORE)
        elif signum not in IGNORED_BY_PYTHON and _signal.getsignal(signum) is not None:
            _signal.signal(signum, DEFAULT)
    if SIGINT not in ignored:
        _signal.signal(SIGINT, _signal.default_int_handler)


def block_all() -> Collection[int]:
    """Have signals wait until ``set_mask``, and return which have waited until now."""
    before: Collection[int] = _signal.pthread_sigmask(_signal.SIG_SETMASK, _signal.valid_signals())
    return before


def set_mask(signums: Collection[int]) -> None:
    """Have these signals wait, and no others."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, signums)


def unblock_all() -> None:
    """Empty this thread's signal mask, which exec and fork hand down from the caller."""
    set_mask(())
