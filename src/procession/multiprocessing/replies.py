"""What workers left of their calls: a file a rank, read when all are dead."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from procession._os.anonymous import anonymous_file, freeze
from procession._worker import parcel, reply
from procession._worker.errorfile import words
from procession._worker.exceptions import pack
from procession.errors import NotPicklableError

__all__ = ["Outcome", "Replies"]


class Outcome(NamedTuple):
    """What came of one rank's call.

    Attributes:
        stage: How far it came, as in ``_worker/reply.py``.
        value: What the function returned.
        packed: What it raised, or what keeps its value from us, as ``_worker/exceptions.py`` packs it.
        lost: Why there is no value of a function that returned one; empty if there is, or none was.
    """

    stage: bytes = reply.BEGUN
    value: Any = None
    packed: bytes = b""
    lost: str = ""

    @property
    def problem(self) -> str | None:
        """Why a worker that ended with 0 has failed for all that; empty if its error file tells.

        A function that ends its own process with 0 has returned None.
        """
        if self.stage in (reply.CALLED, reply.VALUE):
            return self.lost or None
        return _UNFINISHED.get(self.stage, "")


_UNFINISHED = {
    reply.BEGUN: "the worker ended with status 0 before its function was called",
    reply.RETURNED: "the worker ended with status 0 while its return value was pickled",
}


class Replies:
    """The reply files of a gang."""

    def __init__(self) -> None:
        self._files: dict[int, int] = {}
        self._outcomes: dict[int, Outcome] = {}

    def open(self, rank: int) -> int:
        """Return the fd of a new file for ``rank``'s reply; it stays ours."""
        self._files[rank] = anonymous_file("procession-reply")
        return self._files[rank]

    def take(self, rank: int) -> Outcome:
        """Hand over what came of ``rank``, once all files have been closed."""
        return self._outcomes.pop(rank, Outcome())

    def close(self, *, wanted: bool) -> None:
        """Read what dead workers left, and close the files.

        Args:
            wanted: Values are rebuilt; otherwise exceptions alone are kept.
        """
        # What a worker calls the launcher's main module; multiprocessing gives that the name too.
        sys.modules.setdefault("__mp_main__", sys.modules["__main__"])
        while self._files:
            rank, fd = self._files.popitem()
            freeze(fd)
            with open(fd, "rb") as file:
                file.seek(0)
                self._outcomes[rank] = _outcome(file, rank, wanted=wanted)


def _outcome(file: Any, rank: int, *, wanted: bool) -> Outcome:
    stage = file.read(1) or reply.BEGUN
    file.seek(reply.CONTENT)
    if stage == reply.RAISED:
        return Outcome(stage, packed=file.read())
    if stage != reply.VALUE or not wanted:
        return Outcome(stage)
    try:
        return Outcome(stage, parcel.read(file))
    except BaseException as error:  # noqa: BLE001 - whatever the value's own code raises
        return _lost(rank, error)


def _lost(rank: int, error: BaseException) -> Outcome:
    lost = NotPicklableError(
        f"the return value of local rank {rank} cannot be rebuilt here: {words(error)}; "
        "return plain data, or objects of classes that the launcher can import"
    )
    lost.__cause__ = error
    return Outcome(reply.VALUE, packed=pack(lost), lost=str(lost))
