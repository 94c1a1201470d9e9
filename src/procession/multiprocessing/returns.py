"""What functions return: a pipe a rank, read by the gang's loop, one copy in memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from procession.errors import NotPicklableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from procession._loop.gang import Gang

__all__ = ["ReturnPipes"]

_LENGTH = 8  # bytes, as in _worker/function.py
_CHUNK = 1 << 20


class ReturnPipes:
    """The reading ends of all ranks' result pipes."""

    def __init__(self) -> None:
        self._readers: dict[int, int] = {}
        self._received: dict[int, bytearray] = {}

    def open(self, rank: int, gang: Gang) -> int:
        """Return the writing end for ``rank``, whose bytes the gang's loop collects from now on."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        self._readers[rank] = reader
        self._received[rank] = bytearray()
        gang.watch(reader, lambda: self._collect(rank, gang))
        return writer

    def values(self, ranks: Iterable[int]) -> dict[int, Any]:
        """Return the value of each rank; None for one that ended with 0 before it returned.

        Raises:
            NotPicklableError: A value cannot be rebuilt in this process.
        """
        return {rank: self._value(rank) for rank in ranks}

    def close(self) -> None:
        """Take what dead workers left in the pipes, then close these."""
        for rank in list(self._readers):
            self._read(rank)
            os.close(self._readers.pop(rank))

    def _collect(self, rank: int, gang: Gang) -> None:
        if rank in self._readers and self._read(rank):
            gang.unwatch(self._readers[rank])
            os.close(self._readers.pop(rank))

    def _read(self, rank: int) -> bool:
        """Read what is there; True at the end of the pipe."""
        while True:
            try:
                data = os.read(self._readers[rank], _CHUNK)
            except BlockingIOError:
                return False
            if not data:
                return True
            self._received[rank] += data

    def _value(self, rank: int) -> Any:
        import pickle

        body = memoryview(self._received[rank])[_LENGTH:]
        try:
            return pickle.loads(body) if body else None  # noqa: S301 - our worker wrote it
        except Exception as error:
            raise NotPicklableError(
                f"the return value of local rank {rank} cannot be rebuilt here: {error!r}; return "
                "plain data, or objects of classes that the launcher can import"
            ) from error
