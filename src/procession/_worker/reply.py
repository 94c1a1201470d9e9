"""What a worker leaves of its call: how far it came, and what the function returned or raised.

The reply is a file that the launcher has made and reads when the worker is dead: its first byte is
the stage, the content begins at ``CONTENT``. A file takes a result of any size at once, whoever reads
it when, whatever process of the worker's holds a copy of its descriptor, and however the worker dies.
"""

from __future__ import annotations

import os

from procession._worker import parcel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

CONTENT = 64  # bytes

BEGUN = b"\0"  # an empty file says the same
CALLED = b"C"  # the function has been called
RETURNED = b"R"  # and has returned; its value is being pickled
VALUE = b"V"  # the content is its value, as parcel.py writes it
RAISED = b"E"  # the content is an exception, as exceptions.py packs it


class Reply:
    """The file as the worker holds it.

    A child that the function forks and that returns or raises as well has nothing to say in it.
    """

    def __init__(self, fd: int) -> None:
        self.stage = BEGUN
        self._fd = fd
        self._owner = os.getpid()
        self._identity = _identity(fd)

    def is_ours(self) -> bool:
        """True in the worker itself, False in what it has forked."""
        return os.getpid() == self._owner

    def enter(self, stage: bytes) -> None:
        """Note how far the worker has come."""
        self._require_file()
        self.stage = stage
        os.pwrite(self._fd, stage, 0)

    def value(self, value: Any) -> None:
        """Leave what the function returned.

        Raises:
            PicklingError: It cannot be pickled or written; the message names its type.
        """
        self._require_file()

        def attempt(make_pickler: parcel.MakePickler) -> None:
            os.ftruncate(self._fd, CONTENT)
            with open(self._fd, "wb", closefd=False) as file:
                file.seek(CONTENT)
                parcel.write(file, value, make_pickler)

        try:
            if value is None:  # as most functions return: no way to send it has to be found
                attempt(parcel.plain)
            else:
                from procession._worker import homeward

                homeward.either_way(attempt)
        except Exception as error:
            BaseException.with_traceback(error, _below_us(error.__traceback__))
            raise _refusal(value, error) from error
        self.enter(VALUE)

    def exception(self, error: BaseException) -> None:
        """Leave what the function raised, as far as it can be."""
        from procession._worker import exceptions

        packed = exceptions.pack(error)
        self._require_file()
        os.ftruncate(self._fd, CONTENT)
        with open(self._fd, "wb", closefd=False) as file:
            file.seek(CONTENT)
            file.write(packed)
        self.enter(RAISED)

    def _require_file(self) -> None:
        """Refuse to write into whatever has got the number since the function closed our file.

        Raises:
            OSError: It has.
        """
        if _identity(self._fd) != self._identity:
            raise OSError(
                f"fd {self._fd}, which carries the function's result to the launcher, was closed "
                "by the function; close only what it has opened"
            )


def _below_us(frames: TracebackType | None) -> TracebackType | None:
    """What the traceback shows of the value's own code."""
    here = os.path.dirname(__file__)
    while frames and os.path.dirname(frames.tb_frame.f_code.co_filename) == here:
        frames = frames.tb_next
    return frames


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _refusal(value: Any, error: Exception) -> Exception:
    from _pickle import PicklingError

    from procession._worker import errorfile

    deed = "written" if isinstance(error, OSError) else "pickled"
    return PicklingError(
        f"the return value, of type {type(value).__qualname__}, cannot be {deed} and so cannot "
        f"go back to the launcher: {errorfile.words(error)}; return plain data, or write it to a file"
    )
