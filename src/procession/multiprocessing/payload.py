"""Functions and arguments on their way to a worker that does not share the launcher's memory."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from procession._os.anonymous import anonymous_file
from procession._worker import parcel
from procession.errors import NotPicklableError
from procession.multiprocessing import outward
from procession.multiprocessing.blame import explain, too_many_fds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import BinaryIO

__all__ = ["FIRST_HANDED_OVER", "Payload"]

FIRST_HANDED_OVER = 7  # the worker's fds: 0-2 std, 3 lock, 4 payload, 5 reply, 6 resource tracker
_MOST_HANDED_OVER = 253 - FIRST_HANDED_OVER  # SCM_MAX_FD, include/net/scm.h


class Payload:
    """One worker's function and arguments, pickled, with the fds that arguments hand over.

    multiprocessing's own objects ask the "spawning popen" for the number that an fd will have in
    the child; this object answers in its place.

    Attributes:
        fd: Of a file that holds it; a file, so no reader need be waited for.
        handed_over: Fds for the worker, to be numbered from ``FIRST_HANDED_OVER``. They belong to
            the arguments.
        needs_multiprocessing: Arguments name something of that package, or the worker may reach something.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        args: Sequence[Any],
        settings: Mapping[str, Any],
        start_method: str,
    ) -> None:
        """Pickle ``fn(*args)`` for one worker.

        Args:
            fn: The function.
            args: Its arguments.
            settings: What makes the worker's interpreter like this one (likeness.py).
            start_method: For messages.

        Raises:
            NotPicklableError: Names the object that cannot go to another process.
        """
        self.handed_over: list[int] = []
        self.needs_multiprocessing = False
        self.fd = anonymous_file("procession-payload")
        try:
            with open(self.fd, "r+b", closefd=False) as file:
                pickled = self._write(file, fn, tuple(args), start_method)
                file.flush()
                named = _mentions(self.fd, b"multiprocessing", pickled)
                self.needs_multiprocessing = named or _may_be_reached()
                authkey = _authkey() if self.needs_multiprocessing else b""
                parcel.write(file, {**settings, "authkey": authkey})
            os.lseek(self.fd, 0, os.SEEK_SET)
        except BaseException:
            self.close()
            raise

    def DupFd(self, number: int) -> Any:  # noqa: N802 - multiprocessing's name
        """Return what stands for the child's fd of that number in the pickle."""
        from multiprocessing.popen_spawn_posix import _DupFd

        return _DupFd(number)

    def duplicate_for_child(self, fd: int) -> int:
        """Promise the child a copy of ``fd``; called by multiprocessing while it pickles."""
        self.handed_over.append(fd)
        return FIRST_HANDED_OVER + len(self.handed_over) - 1

    def close(self) -> None:
        """Close the file; what has been sent of it stays with who got it."""
        os.close(self.fd)

    def _write(
        self, file: BinaryIO, fn: Callable[..., Any], args: tuple[Any, ...], start_method: str
    ) -> int:
        """Write the call into the empty file, and return where its pickle ends."""
        # Where nobody has imported multiprocessing, nothing of it is in the call, and its 12 ms are
        # worth a try without: it is needed for a socket, then, and for what goes by value.
        if "multiprocessing" not in sys.modules:
            with suppress(Exception):
                return outward.write_by_name(file, (fn, args))
        with self._spawning():  # the blame too: a lock that is alright has to look so
            try:
                pickled = outward.write(file, (fn, args), self.handed_over.clear)
            except Exception as error:
                raise NotPicklableError(explain(fn, args, error, start_method)) from error
        if len(self.handed_over) > _MOST_HANDED_OVER:
            raise NotPicklableError(too_many_fds(fn, len(self.handed_over), _MOST_HANDED_OVER))
        return pickled

    @contextmanager
    def _spawning(self) -> Iterator[None]:
        """Be what multiprocessing's objects ask while they are pickled."""
        from multiprocessing.context import set_spawning_popen

        set_spawning_popen(self)  # type: ignore[arg-type]
        try:
            yield
        finally:
            set_spawning_popen(None)


def _authkey() -> bytes:
    from multiprocessing.process import current_process

    return bytes(current_process().authkey)


def _may_be_reached() -> bool:
    """True if there may be what workers reach by a name or an address, of which no pickle tells.

    Shared memory: who attaches to it registers it with a resource tracker, which removes it when all who have
    that tracker have ended. Of a worker's own that would be the worker's end, and the memory is ours.
    A manager, whose module imports that of shared memory: it lets in whoever has our key.
    """
    tracker = sys.modules.get("multiprocessing.resource_tracker")
    runs = getattr(getattr(tracker, "_resource_tracker", None), "_fd", None) is not None
    return runs or "multiprocessing.shared_memory" in sys.modules


def _mentions(fd: int, word: bytes, end: int) -> bool:
    import mmap

    with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as whole:
        return whole.find(word, 0, end) >= 0
