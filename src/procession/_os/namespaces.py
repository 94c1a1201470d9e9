"""A PID namespace with a /proc of its own (pid_namespaces(7)), as root or as anybody.

Whatever is born in it dies with its first process, at the kernel's hand, and cannot leave.
"""

from __future__ import annotations

import ctypes
import os

from procession._os.kernel import open_pidfd

# include/uapi/linux/sched.h, mount.h
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_SLAVE = 0x2, 0x4, 0x8, 0x4000, 0x80000


def unshare_pids() -> None:
    """Have this process's next child be the first of a new PID namespace; mounts are its own from now on.

    Who may not do so does it in a user namespace, in which uid and gid stay what they are. This
    process must have one thread.

    Raises:
        OSError: EPERM or ENOSPC where the host gives out no (more) namespaces.
    """
    try:
        _call("unshare", _CLONE_NEWNS | _CLONE_NEWPID)
    except PermissionError:
        uid, gid = os.geteuid(), os.getegid()
        _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWPID)
        # A gid may be mapped only once no group can be dropped any more (user_namespaces(7)).
        for name, text in (
            ("setgroups", "deny"),
            ("gid_map", f"{gid} {gid} 1"),
            ("uid_map", f"{uid} {uid} 1"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)


def mount_own_proc() -> None:
    """Let /proc show this PID namespace, to this process and those below it.

    What is mounted on the host later appears here too, and nothing of ours there.

    Raises:
        OSError: EPERM in a user namespace below a container that hides parts of its /proc.
    """
    _call("mount", b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None)
    _call(
        "mount",
        b"proc",
        b"/proc",
        b"proc",
        ctypes.c_ulong(_MS_NOSUID | _MS_NODEV | _MS_NOEXEC),
        None,
    )


class OuterPids:
    """What pids of this namespace are called outside of it.

    Attributes:
        fd: The outer /proc. Nobody else may have it.
    """

    def __init__(self) -> None:
        """Take hold of /proc, before another is mounted over it."""
        self.fd = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def of(self, pid: int) -> int:
        """Return the outer number of ``pid``; 0 if it is gone."""
        pidfd = open_pidfd(pid)
        if pidfd is None:
            return self._search(pid)
        try:
            # "self" and "Pid" are told in the numbers of the namespace that this /proc was mounted in.
            info = self._read(f"self/fdinfo/{pidfd}")
        finally:
            os.close(pidfd)
        return max(0, _last_number(info, b"Pid:"))  # -1 is told of one that has ended

    def _search(self, pid: int) -> int:
        """Look for it among all processes of the host, where there are no pidfds."""
        ours = os.readlink("/proc/self/ns/pid")
        for name in filter(str.isdigit, os.listdir(self.fd)):
            try:
                same = _last_number(self._read(f"{name}/status"), b"NSpid:") == pid
                if same and os.readlink(f"{name}/ns/pid", dir_fd=self.fd) == ours:
                    return int(name)
            except OSError:  # it has ended, or is none of ours
                continue
        return 0

    def _read(self, path: str) -> bytes:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            return os.read(fd, 4096)
        finally:
            os.close(fd)


def _last_number(text: bytes, key: bytes) -> int:
    """Return the last number of the line that begins with ``key``; 0 where there is none. Pure.

    ``Pid:`` is of /proc/<pid>/fdinfo/<pidfd>; ``NSpid:`` of /proc/<pid>/status, outermost first
    (proc_pid_status(5)).
    """
    for line in text.splitlines():
        if line.startswith(key):
            return int(line.split()[-1])
    return 0


def _call(name: str, *args: object) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*args) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)
