"""A worker's exception in its launcher: the object again, or words where it cannot be one."""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

from procession.errors import RemoteError

if TYPE_CHECKING:
    from types import CodeType, TracebackType

    from procession._worker.exceptions import Frame, Node, Position

__all__ = ["unpack"]


def unpack(packed: bytes) -> BaseException | None:
    """Rebuild what ``_worker.exceptions.pack`` made of an exception.

    Its cause, context, notes and group members come with it, and tracebacks that name the worker's
    files and lines, as far as they are Python's. One that cannot be rebuilt is a ``RemoteError``.

    Args:
        packed: From the worker's reply, over which nobody but the worker has any power.

    Returns:
        The exception; None if ``packed`` is empty or torn.
    """
    try:
        nodes = pickle.loads(packed) if packed else []  # noqa: S301 - plain data
    except Exception:  # noqa: BLE001 - the worker was killed while it wrote
        return None
    return _Family(nodes).first() if nodes else None


class _Family:
    """Exceptions that hang together, rebuilt as they ask for one another."""

    def __init__(self, nodes: list[Node]) -> None:
        self._nodes = nodes
        self._members: dict[int, BaseException] = {}

    def first(self) -> BaseException:
        """Return the first, with all others bound to it."""
        for number in range(len(self._nodes)):
            self.member(number)
        for number, node in enumerate(self._nodes):
            self._bind(self._members[number], node)
        return self._members[0]

    def member(self, number: int) -> BaseException:
        """Return the exception of that number; a stand-in to one that asks for itself."""
        if number not in self._members:
            node = self._nodes[number]
            self._members[number] = stand_in = _stand_in(node)
            self._members[number] = self._rebuilt(node) or stand_in
        return self._members[number]

    def _rebuilt(self, node: Node) -> BaseException | None:
        if node["pickle"] is None:
            return None
        try:
            made = _Unpickler(node["pickle"], self).load()
        except BaseException:  # noqa: BLE001 - the exception's own class may raise anything
            return None
        return made if isinstance(made, BaseException) else None

    def _bind(self, error: BaseException, node: Node) -> None:
        # By `object`: a frozen dataclass refuses to have its attributes set.
        for name in ("cause", "context"):
            if node[name] is not None:
                object.__setattr__(error, f"__{name}__", self._members[node[name]])
        object.__setattr__(error, "__suppress_context__", node["suppress"])
        object.__setattr__(error, "__traceback__", _traceback(node["frames"]))


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, family: _Family) -> None:
        super().__init__(io.BytesIO(data))
        self._family = family

    def persistent_load(self, number: Any) -> BaseException:
        return self._family.member(number)


def _stand_in(node: Node) -> RemoteError:
    error = RemoteError(node["words"])
    vars(error).update({"__notes__": node["notes"]} if node["notes"] else {})
    return error


def _traceback(frames: list[Frame]) -> TracebackType | None:
    """A traceback that names those places, as if it had been raised in them."""
    from types import TracebackType

    codes: dict[Frame, CodeType] = {}  # a recursion names few places often
    traceback: TracebackType | None = None
    for frame in reversed(frames):
        try:
            code = codes.setdefault(frame, _code(*frame))
        except (ValueError, TypeError, SyntaxError):  # a file name with a NUL byte, odd positions
            continue
        here = _raised_in(code)
        traceback = TracebackType(traceback, here.tb_frame, here.tb_lasti, here.tb_lineno)
    return traceback


class _Mark(Exception):  # noqa: N818 - never seen
    pass


def _code(filename: str, function: str, position: Position) -> CodeType:
    """Code that raises at that place of that file."""
    import ast

    first, last, column, end_column = position
    place = {
        "lineno": first or 1,
        "end_lineno": last or first or 1,
        "col_offset": -1 if column is None else column,  # -1: no column is known, so none is marked
        "end_col_offset": -1 if end_column is None else end_column,
    }
    what = ast.Name(id="mark", ctx=ast.Load(), **place)
    body: list[ast.stmt] = [ast.Raise(exc=what, cause=None, **place)]
    return compile(ast.Module(body, []), filename, "exec").replace(co_name=function)


def _raised_in(code: CodeType) -> TracebackType:
    try:
        exec(code, {"__name__": code.co_name, "__file__": code.co_filename, "mark": _Mark})  # noqa: S102
    except _Mark as mark:
        if mark.__traceback__ is not None and mark.__traceback__.tb_next is not None:
            return mark.__traceback__.tb_next
    raise RuntimeError("code that raises has not raised")
