"""Ranks whose output goes through a pipe to its file, for file systems that may stall or fill."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from procession._log import Logger
from procession._logs.scribing import Piped, Scribing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from procession._loop.gang import Gang

__all__ = ["Piping"]

logger = Logger(__name__)

_Streams = dict[int, tuple[int, int]]


class Piping:
    """The pipes of a gang's output.

    Args:
        policies: Local rank to ``block`` or ``drop``; other ranks write to their files themselves.
        paths: Local rank to the paths of its stdout and stderr.
        streams: Local rank to the fds of the two.

    Attributes:
        streams: The same, with the writing ends of pipes where there are some.
        lost: Path and number of bytes that were dropped, for the files where there are any; known
            after `finish`.

    Raises:
        OSError: The pipes or the process that empties them cannot be had.
    """

    def __init__(
        self, policies: Mapping[int, str], paths: Mapping[int, tuple[str, str]], streams: _Streams
    ) -> None:
        self.lost: dict[str, int] = {}
        self.streams = dict(streams)
        self._gang: Gang | None = None
        piped = {
            (rank, path): Piped(path, fd, policy)
            for rank, policy in policies.items()
            for path, fd in zip(paths.get(rank, ()), streams.get(rank, ()), strict=False)
            if path and stat.S_ISREG(os.fstat(fd).st_mode)
        }
        self._scribing = Scribing(list(piped.values())) if piped else None
        if self._scribing is not None:
            ends = dict(zip(piped, self._scribing.ends, strict=True))
            for rank, (out, err) in streams.items():
                out_path, err_path = paths[rank]
                pair = (ends.get((rank, out_path), out), ends.get((rank, err_path), err))
                self.streams[rank] = pair

    def started(self, gang: Gang) -> None:
        """The workers have the pipes; from now on the gang's loop looks after the process."""
        if self._scribing is not None:
            self._scribing.close_writing_ends()
            self._gang = gang
            gang.watch(self._scribing.fileno(), self._hear)

    def finish(self) -> None:
        """See all written that was written; no worker lives."""
        if self._scribing is None:
            return
        if self._gang is not None and not self._scribing.is_over:
            self._gang.unwatch(self._scribing.fileno())
        self.lost |= self._scribing.finish()
        for path, count in self.lost.items():
            logger.warning("%d bytes of %s were dropped: the disk did not take them", count, path)
        self._scribing = None

    def _hear(self) -> None:
        if self._scribing is not None and self._gang is not None:
            self._gang.unwatch(self._scribing.fileno())
            self._scribing.listen()
            if not self._scribing.is_over:
                self._gang.watch(self._scribing.fileno(), self._hear)
