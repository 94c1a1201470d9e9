"""What an isolated gang lives in: a PID namespace that dies with its guardian, or a cgroup.

Two processes make such a guardian: the one that was started opens the namespace and forks the first process in it,
which is to be the guardian, then ends; the guardian falls to the launcher, a subreaper. What came of it
is written into a pipe: ``pid N``, and ``ready`` or ``error ERRNO WHAT``.
"""

from __future__ import annotations

import fcntl
import os
import select
from errno import EPERM

from procession._guardian.sweep import send
from procession._os.cgroup import Leaf, make_leaf
from procession._os.lean import SIGCONT
from procession._os.namespaces import OuterPids, mount_own_proc, unshare_pids
from procession.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_SILENCE_MS = 1000  # until who has still to report is continued


def isolate(report: int) -> OuterPids:
    """Return in the first process of a PID namespace; the caller is gone then.

    Args:
        report: Where what came of it is written; closed afterwards.
    """
    outside = OuterPids()
    try:
        unshare_pids()
        first = os.fork()
    except OSError as error:
        _fail(report, error)
    if first:
        os.write(report, b"pid %d\n" % first)
        os._exit(0)
    try:
        os.setsid()
        mount_own_proc()
    except OSError as error:
        _fail(report, error)
    os.write(report, b"ready\n")
    os.close(report)
    return outside


class Report:
    """The launcher's side of the pipe, from before there is anybody to write into it.

    Attributes:
        pen: The end to write into.
    """

    def __init__(self, floor: int) -> None:
        """Make the pipe, with ``pen`` not below ``floor``."""
        self._reader, pen = os.pipe()
        try:
            self.pen = fcntl.fcntl(pen, fcntl.F_DUPFD_CLOEXEC, floor)
        except OSError:
            os.close(self._reader)
            raise
        finally:
            os.close(pen)
        self._open = {self._reader, self.pen}

    def isolate(self) -> OuterPids:
        """In a forked child: ``isolate``."""
        return isolate(self.pen)

    def guardian(self, started: int) -> int:
        """Return the guardian's pid, once it is ready; ``started``, which forked it, is reaped.

        Raises:
            UsageError: There can be no such namespace here.
        """
        self._close(self.pen)
        words = self._heard(started).split()
        os.waitpid(started, 0)
        first = _first(words)
        if b"ready" in words and first:
            return first
        if first:
            os.waitpid(first, 0)
        raise UsageError(_refusal(words))

    def _heard(self, started: int) -> bytes:
        """Return all that is written; who is stopped meanwhile is continued, as any guardian is."""
        poller, text = select.poll(), b""
        poller.register(self._reader, select.POLLIN)
        while True:
            if not poller.poll(_SILENCE_MS):
                for pid in filter(None, (started, _first(text.split()))):
                    send(pid, SIGCONT)
            elif data := os.read(self._reader, 4096):
                text += data
            else:
                return text

    def close(self) -> None:
        """Close what is open of it."""
        for fd in list(self._open):
            self._close(fd)

    def _close(self, fd: int) -> None:
        self._open.discard(fd)
        os.close(fd)


def own_cgroup(run_id: str) -> Leaf:
    """Make a cgroup for the workers of a run.

    Raises:
        UsageError: There can be none here.
    """
    try:
        return make_leaf(run_id)
    except OSError as error:
        raise UsageError(
            f"isolate cgroup: {error.filename}: {error.strerror}. It takes a cgroup of version 2 below "
            "which this user may make another (systemd-run --user --scope -p Delegate=yes ...), and "
            "Linux 5.14. Leave the isolation out, or try pidns."
        ) from error


def _fail(report: int, error: OSError) -> NoReturn:
    os.write(report, f"error {error.errno} {error.filename or 'fork'}\n".encode())
    os._exit(1)


def _first(words: list[bytes]) -> int:
    """The first process of the namespace; 0 where it has not been told of. Pure."""
    return int(words[words.index(b"pid") + 1]) if b"pid" in words[:-1] else 0


def _refusal(words: list[bytes]) -> str:
    """Say why there is no isolation, and what to do. Pure."""
    at = words.index(b"error") if b"error" in words else None
    number, what = (
        (EPERM, "unshare") if at is None else (int(words[at + 1]), words[at + 2].decode())
    )
    said = f"isolate pidns: {what}: {os.strerror(number)}. "
    if what == "mount":
        return said + (
            "A /proc of its own cannot be mounted, as in a container that hides parts of /proc. "
            "Run as root with CAP_SYS_ADMIN, or leave the isolation out."
        )
    return said + (
        "It takes a PID namespace, which root may have, and others where user namespaces are allowed "
        "(sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
        "kernel.apparmor_restrict_unprivileged_userns). Run as root, or leave the isolation out."
    )
