"""Pickling on the way to a worker: by name what it can import, and by value what it cannot.

The way back is ``_worker/homeward.py``.
"""

from __future__ import annotations

import sys
from _pickle import Pickler
from typing import TYPE_CHECKING, Any, ClassVar

from procession._worker import parcel
from procession._worker.homeward import reducers_by_value
from procession.multiprocessing.likeness import main_defines

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

__all__ = ["is_importable", "is_picklable", "write", "write_by_name"]


def write(file: BinaryIO, value: Any, begin_again: Callable[[], object]) -> int:
    """Write ``value`` as a parcel into ``file``, by name or, where that cannot be, by value.

    Args:
        file: As of ``parcel.write``; it is written from its beginning.
        value: What to write.
        begin_again: Called where what has been written turns out to be of no use.

    Returns:
        As ``parcel.write``.

    Raises:
        Exception: Whatever the value's own code raises, if neither way is open.
    """
    try:
        return write_by_name(file, value)
    except _NeedsValueError:
        begin_again()
        return _write(file, value, _by_value)
    except Exception as refusal:  # noqa: BLE001 - the value's own code may raise anything
        begin_again()
        try:
            return _write(file, value, _by_value)
        except Exception:  # noqa: BLE001 - the first refusal is the one to tell
            raise refusal from refusal.__cause__


def write_by_name(file: BinaryIO, value: Any) -> int:
    """Write ``value`` likewise, but only if all that is in it can go by name."""
    return _write(file, value, _by_name)


def _write(file: BinaryIO, value: Any, make_pickler: parcel.MakePickler) -> int:
    file.seek(0)
    file.truncate()
    return parcel.write(file, value, make_pickler)


def is_picklable(value: Any) -> bool:
    """True if ``write`` can write it."""
    from io import BytesIO

    try:
        write(BytesIO(), value, list)
    except Exception:  # noqa: BLE001 - any failure at all is the answer
        return False
    return True


class _NeedsValueError(Exception):
    """Something was met that the worker cannot import."""


def _by_name(file: BinaryIO, buffers: Callable[[Any], bool]) -> Any:
    # Who has registered a reducer, torch say, has imported multiprocessing.
    reduction = sys.modules.get("multiprocessing.reduction")
    base: Any = Pickler if reduction is None else reduction.ForkingPickler

    class ByName(base):  # type: ignore[misc]
        """Pickles classes and functions by name, as long as all have one."""

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, _kinds()) and not is_importable(obj):
                raise _NeedsValueError
            return NotImplemented

    return ByName(file, parcel.PROTOCOL, True, buffers)


def _by_value(file: BinaryIO, buffers: Callable[[Any], bool]) -> Any:
    from multiprocessing.reduction import ForkingPickler
    from types import CodeType

    import cloudpickle

    def reduce_code(code: CodeType) -> tuple[Any, ...]:
        """As cloudpickle does, but with the name of its file, which tracebacks show."""

        def is_mark(part: object) -> bool:  # bytes, compared with a text, raise under -bb
            return isinstance(part, str) and part == "<dynamic-code>"

        make, parts = cloudpickle.Pickler.dispatch_table[CodeType](code)
        return make, tuple(code.co_filename if is_mark(part) else part for part in parts)

    class ByValueWhereNeeded(cloudpickle.Pickler):  # type: ignore[misc]
        """Pickles by name what the worker can import, and by value what it cannot."""

        dispatch_table: ClassVar = {  # of the class: a pickler looks it up once, in C
            **reducers_by_value(),
            **ForkingPickler._extra_reducers,  # type: ignore[attr-defined]
            CodeType: reduce_code,
        }

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, _kinds()) and is_importable(obj):
                return NotImplemented
            return super().reducer_override(obj)

    return ByValueWhereNeeded(file, parcel.PROTOCOL, buffers)


def _kinds() -> tuple[type, ...]:
    from types import FunctionType, ModuleType

    return FunctionType, type, ModuleType


def is_importable(obj: Any) -> bool:
    """True if the worker finds ``obj`` by its name."""
    if not hasattr(obj, "__qualname__"):  # a module, which the standard pickler refuses
        return False
    name, *inner = obj.__qualname__.split(".")
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    if module is None or (module.__name__ == "__main__" and not main_defines(module, name)):
        return False
    found: Any = getattr(module, name, None)
    for attribute in inner:
        found = getattr(found, attribute, None)
    return found is obj
