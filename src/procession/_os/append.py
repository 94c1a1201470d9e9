"""Lines that several processes append to one file."""

from __future__ import annotations

import errno
import os


def append_line(path: str, text: str) -> None:
    """Append a line by one write, so that it is whole whoever else appends (open(2), O_APPEND).

    The file is opened for each line: nothing is held while nothing happens, and a file that somebody
    has moved away is made anew, with mode 0600.

    Raises:
        OSError: The file cannot be written; ENOSPC also where a part of the line is there.
    """
    data = f"{text}\n".encode(errors="surrogateescape")
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.write(fd, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    finally:
        os.close(fd)
