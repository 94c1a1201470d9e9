"""Functions and arguments on their way to a worker that does not share the launcher's memory."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from procession._os.anonymous import anonymous_file
from procession._worker import parcel
from procession._worker.errorfile import words
from procession.errors import NotPicklableError
from procession.multiprocessing.likeness import main_is_a_file, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
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
        needs_multiprocessing: Arguments name something of that package.
    """

    def __init__(
        self, name: str, fn: Callable[..., Any], args: Sequence[Any], start_method: str
    ) -> None:
        """Pickle ``fn(*args)`` for one worker.

        Raises:
            NotPicklableError: Names the object that cannot go to another process.
        """
        from multiprocessing.popen_spawn_posix import _DupFd

        self.DupFd = _DupFd
        self.handed_over: list[int] = []
        self.needs_multiprocessing = False
        self.fd = anonymous_file("procession-payload")
        try:
            with open(self.fd, "r+b", closefd=False) as file:
                self._write(file, name, fn, args, start_method)
            os.lseek(self.fd, 0, os.SEEK_SET)
        except BaseException:
            self.close()
            raise

    def duplicate_for_child(self, fd: int) -> int:
        """Promise the child a copy of ``fd``; called by multiprocessing while it pickles."""
        self.handed_over.append(fd)
        return FIRST_HANDED_OVER + len(self.handed_over) - 1

    def close(self) -> None:
        """Close the file; what has been sent of it stays with who got it."""
        os.close(self.fd)

    def _write(
        self,
        file: BinaryIO,
        name: str,
        fn: Callable[..., Any],
        args: Sequence[Any],
        start_method: str,
    ) -> None:
        pickled = self._write_call(file, fn, args, start_method)
        if len(self.handed_over) > _MOST_HANDED_OVER:
            raise NotPicklableError(
                f"the arguments of {_name_of(fn)} hold {len(self.handed_over)} file descriptors, and a "
                f"worker can be handed {_MOST_HANDED_OVER}; pass fewer pipes, queues or tensors at once"
            )
        file.flush()
        self.needs_multiprocessing = _mentions(self.fd, b"multiprocessing", pickled)
        parcel.write(file, self._settings(name))

    def _write_call(
        self, file: BinaryIO, fn: Callable[..., Any], args: Sequence[Any], start_method: str
    ) -> int:
        from multiprocessing.context import set_spawning_popen

        set_spawning_popen(self)  # type: ignore[arg-type]
        try:
            return self._either_way(file, (fn, tuple(args)))
        except Exception as error:
            raise NotPicklableError(_explain(fn, args, error, start_method)) from error
        finally:
            set_spawning_popen(None)

    def _either_way(self, file: BinaryIO, call: Any) -> int:
        try:
            return parcel.write(file, call, _by_name)
        except _NeedsValueError:
            self.handed_over.clear()
            file.seek(0)
            file.truncate()
            return parcel.write(file, call, _by_value)

    def _settings(self, name: str) -> dict[str, Any]:
        return {**settings(name), "multiprocessing": self.needs_multiprocessing}


class _NeedsValueError(Exception):
    """Something was met that the worker cannot import."""


def _by_name(file: BinaryIO, buffers: Callable[[Any], bool]) -> Any:
    from multiprocessing.reduction import ForkingPickler

    class ByName(ForkingPickler):
        """Pickles classes and functions by name, as long as all have one."""

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, _kinds()) and not _importable(obj):
                raise _NeedsValueError
            return NotImplemented

    return ByName(file, parcel.PROTOCOL, True, buffers)


def _by_value(file: BinaryIO, buffers: Callable[[Any], bool]) -> Any:
    from multiprocessing.reduction import ForkingPickler
    from types import CodeType

    import cloudpickle

    def reduce_code(code: CodeType) -> tuple[Any, ...]:
        """As cloudpickle does, but with the name of its file, which tracebacks show."""
        make, parts = cloudpickle.Pickler.dispatch_table[CodeType](code)
        return make, tuple(code.co_filename if part == "<dynamic-code>" else part for part in parts)

    class ByValueWhereNeeded(cloudpickle.Pickler):  # type: ignore[misc]
        """Pickles by name what the worker can import, and by value what it cannot."""

        dispatch_table: ClassVar = {  # of the class: __init__ looks it up once, in C
            **cloudpickle.Pickler.dispatch_table,
            **ForkingPickler._extra_reducers,  # type: ignore[attr-defined]
            CodeType: reduce_code,
        }

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, _kinds()) and _importable(obj):
                return NotImplemented
            return super().reducer_override(obj)

    return ByValueWhereNeeded(file, parcel.PROTOCOL, buffers)


def _kinds() -> tuple[type, ...]:
    from types import FunctionType, ModuleType

    return FunctionType, type, ModuleType


def _importable(obj: Any) -> bool:
    """True if the worker finds ``obj`` by its name."""
    if not hasattr(obj, "__qualname__"):  # a module, which has no name for the standard pickler
        return False
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    if module is None or (module.__name__ == "__main__" and not main_is_a_file(module)):
        return False
    found: Any = module
    for name in obj.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is obj


def _mentions(fd: int, word: bytes, end: int) -> bool:
    import mmap

    with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as whole:
        return whole.find(word, 0, end) >= 0


def _explain(
    fn: Callable[..., Any], args: Sequence[Any], error: Exception, start_method: str
) -> str:
    said = words(error)
    culprit = next((what for what, value in _suspects(fn, args) if not _picklable(value)), None)
    hint = (
        f"Make locks, queues and events with multiprocessing.get_context({start_method!r})."
        if "context" in said
        else "Pass plain data and open files, sockets or locks inside the function, "
        'or use start_method="fork".'
    )
    return f"{culprit or 'the function with its arguments'} cannot be pickled: {said}. {hint}"


def _suspects(fn: Callable[..., Any], args: Sequence[Any]) -> list[tuple[str, Any]]:
    numbered = [
        (f"argument {index} of {_name_of(fn)}, of type {type(value).__qualname__},", value)
        for index, value in enumerate(args)
    ]
    return [(f"the function {_name_of(fn)}", fn), *numbered]


def _name_of(fn: Callable[..., Any]) -> str:
    return str(getattr(fn, "__qualname__", None) or repr(fn))


def _picklable(value: Any) -> bool:
    from io import BytesIO

    try:
        try:
            parcel.write(BytesIO(), value, _by_name)
        except _NeedsValueError:
            parcel.write(BytesIO(), value, _by_value)
    except Exception:  # noqa: BLE001 - any failure at all is the answer
        return False
    return True
