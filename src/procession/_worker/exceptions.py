"""An exception as data that outlives its process: what is pickled of it, and what is told of it.

An exception hangs together with others: its cause, its context, a group's members, whatever its
arguments hold. Each is pickled by itself, with numbers in place of the others, so that one that
cannot be pickled, or cannot be rebuilt, is told in words and spoils none of the rest. Tracebacks
travel as the places they name.
"""

from __future__ import annotations

from procession._worker import errorfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from procession._worker.parcel import MakePickler

    Position = tuple[int | None, int | None, int | None, int | None]
    Frame = tuple[str, str, Position]
    Node = dict[str, Any]

MOST_EXCEPTIONS = 1000
MOST_FRAMES = 1000  # of one traceback; Python's own recursion limit


def pack(error: BaseException) -> bytes:
    """Return ``error`` and all that hangs together with it as bytes.

    They are a pickle of plain data: a list of nodes, the first of them ``error``.
    """
    from _pickle import dumps

    return dumps(_Family(error).nodes(), 5)


class _Family:
    """The exceptions that hang together, numbered in the order in which they are met."""

    def __init__(self, first: BaseException) -> None:
        self._members = [first]
        self._numbers = {id(first): 0}

    def nodes(self) -> list[Node]:
        """Each member as plain data; the list of members grows meanwhile."""
        return [self._node(error) for error in self._members]

    def _number(self, error: BaseException | None) -> int | None:
        if error is None:
            return None
        if id(error) not in self._numbers:
            if len(self._members) == MOST_EXCEPTIONS:
                return None
            self._numbers[id(error)] = len(self._members)
            self._members.append(error)
        return self._numbers[id(error)]

    def _node(self, error: BaseException) -> Node:
        return {
            "pickle": self._pickled(error),
            "words": errorfile.words(error),
            "notes": _notes(error),
            "cause": self._number(error.__cause__),
            "context": self._number(error.__context__),
            "suppress": error.__suppress_context__,
            "frames": _frames(error.__traceback__),
        }

    def _pickled(self, error: BaseException) -> bytes | None:
        from io import BytesIO

        from procession._worker import homeward

        def number_of_other(obj: Any) -> int | None:
            return (
                self._number(obj) if isinstance(obj, BaseException) and obj is not error else None
            )

        def attempt(make_pickler: MakePickler) -> bytes:
            file = BytesIO()
            make_pickler(file, lambda _: True).dump(error)
            return file.getvalue()

        try:
            return homeward.either_way(attempt, number_of_other)
        except BaseException:  # noqa: BLE001 - the user's own code refuses; it is told in words
            return None


def _notes(error: BaseException) -> list[str]:
    def text(note: object) -> str:
        return errorfile.ask(lambda: str(note))

    notes = vars(error).get("__notes__")
    return [text(note) for note in notes] if isinstance(notes, list) else []


def _frames(traceback: TracebackType | None) -> list[Frame]:
    found = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        found.append((code.co_filename, code.co_name, _position(traceback)))
        traceback = traceback.tb_next
    half = MOST_FRAMES // 2
    return found if len(found) <= MOST_FRAMES else found[:half] + found[-half:]


def _position(traceback: TracebackType) -> Position:
    """First and last line, first and last column (in bytes) of what was running; columns since 3.11."""
    code = traceback.tb_frame.f_code
    if traceback.tb_lasti >= 0 and hasattr(code, "co_positions"):
        from itertools import islice

        position: Position | None = next(
            islice(code.co_positions(), traceback.tb_lasti // 2, None), None
        )
        if position is not None and position[0] == traceback.tb_lineno:
            return position
    return traceback.tb_lineno, traceback.tb_lineno, None, None
