"""The run's lock: a file without a place in any directory, whose name is the run's id.

Who looks after a run, its launcher and its guardian, holds it open for writing and has it locked
(flock(2)). What they look after inherits it open for reading: neither exec nor setsid nor an emptied
environment drops an open file, only a process that closes it. So ``/proc/<pid>/fd`` of whoever is left
says which run it belongs to (`members`), and the lock whether anybody still looks after that run.

The kernel lets go of a lock at any end of its holder; a pid in a file may be somebody else's tomorrow,
and means another process in another PID namespace. Why not a file in the run's directory:
docs/why/guardian.md.
"""

from __future__ import annotations

import errno
import fcntl
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    FileId = tuple[int, int]  # device and inode

_PREFIX = "procession-run-"
_LONGEST = 200  # bytes of a run's id; a memfd's name may have 249 (memfd_create(2)), a file's 255
_NOEXEC_SEAL = 8  # MFD_NOEXEC_SEAL, Linux 6.3; sysctl vm.memfd_noexec=2 refuses what lacks it
_NONE_HERE = (errno.ENOSYS, errno.EPERM, errno.EACCES)  # old kernels, seccomp filters, the sysctl


def plain_id(run_id: str) -> str:
    """A run's id as its lock names it: of a length, and free of what no file's name can hold. Pure."""
    return os.fsdecode(os.fsencode(run_id.replace("/", "_").replace("\0", "_"))[:_LONGEST])


def run_of_lock(link: str) -> str | None:
    """The run whose lock an fd is, by what readlink(2) says of it in /proc; None for other files. Pure."""
    path, deleted, _ = link.rpartition(" (deleted)")  # no file that anybody could open by its name
    name = path.rpartition("/")[2].removeprefix("memfd:")
    return name[len(_PREFIX) :] if deleted and name.startswith(_PREFIX) else None


def make_lock(run_id: str) -> int:
    """Return the lock of a new run, open for writing, close-on-exec and locked.

    Where there can be none (no memfd_create(2), nowhere to write) it is /dev/null, and the run's
    processes are known by their environment alone.

    Raises:
        OSError: No fd or no memory is left.
    """
    name = _PREFIX + plain_id(run_id)
    try:
        fd = _memfd(name)
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _NONE_HERE:
            raise
        return _unlinked(os.path.join(os.environ.get("TMPDIR") or "/tmp", name))
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def identity(lock: int) -> FileId:
    """Return what tells this lock from others of the same name."""
    status = os.fstat(lock)
    return status.st_dev, status.st_ino


def handle_of(lock: int) -> int:
    """Return the same lock open for reading: what is inherited, and holds nothing locked.

    It lies above the three standard fds. Where /proc is missing nobody could be found by it, and
    /dev/null takes its place.
    """
    try:
        fd = os.open(f"/proc/self/fd/{lock}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def is_locked(handles: Iterable[str]) -> bool:
    """True if somebody looks after the run whose lock is behind one of these paths in /proc."""
    return any(_refuses(handle) for handle in handles)


def _refuses(handle: str) -> bool:
    try:
        fd = os.open(handle, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # its process has ended meanwhile
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who ask do not meet each other
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _unlinked(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError:
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.unlink(path)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def _memfd(name: str) -> int:
    try:
        return os.memfd_create(name, os.MFD_CLOEXEC | _NOEXEC_SEAL)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return os.memfd_create(name, os.MFD_CLOEXEC)
