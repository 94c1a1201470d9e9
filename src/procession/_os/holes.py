"""fallocate(2): giving the blocks of a file's beginning back to the disk while its offsets stay."""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import suppress

# include/uapi/linux/falloc.h
_KEEP_SIZE = 0x01
_PUNCH_HOLE = 0x02

BLOCK = 4096  # a multiple of the block size of what Linux mounts by default; st_blksize may lie
_PROBE = 4 * BLOCK


def punch(fd: int, offset: int, length: int) -> None:
    """Release the bytes from ``offset`` on; they read as zeros, and size and appending are as before.

    Args:
        fd: Open for writing.
        offset: A multiple of `BLOCK`, so that whole blocks are released.
        length: Likewise, 1 or more.

    Raises:
        OSError: EOPNOTSUPP where the file system cannot, ENOSYS where the system cannot.
    """
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        # By this name the offsets have 64 bits everywhere; musl has one name, and 64 bits.
        fallocate = getattr(libc, "fallocate64", None) or libc.fallocate
    except (AttributeError, OSError) as error:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from error
    mode = _PUNCH_HOLE | _KEEP_SIZE
    while fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)) < 0:
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))


def cannot_punch(directory: str) -> str:
    """Try it on a file that is made in ``directory`` and removed; why it cannot be done, "" if it can."""
    path = os.path.join(directory, f".probe.{os.getpid()}")
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        return error.strerror or str(error)
    try:
        with suppress(OSError):
            os.unlink(path)
        return _why_not(fd)
    except OSError as error:
        return error.strerror or str(error)
    finally:
        os.close(fd)


def _why_not(fd: int) -> str:
    os.write(fd, b"x" * _PROBE)
    os.fsync(fd)  # some count the blocks of a file only once they are on the disk
    full = os.fstat(fd).st_blocks
    punch(fd, 0, _PROBE - BLOCK)
    os.fsync(fd)
    kept = os.pread(fd, _PROBE, 0) == b"\0" * (_PROBE - BLOCK) + b"x" * BLOCK
    return "" if kept and os.fstat(fd).st_blocks < full else "no space was released by it"
