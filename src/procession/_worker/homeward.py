"""Pickling on the way from a worker to its launcher: what the launcher has goes by name, the rest by value.

A class of a notebook's cell is in the launcher's ``__main__``, not in the worker's, which got it by
value. It goes back with both its name and its value, so that the launcher's own class is found where
there is one, and ``isinstance`` holds there.
"""

from __future__ import annotations

import sys

from procession._worker import parcel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pickle import PickleBuffer
    from typing import Any, BinaryIO, TypeVar

    PersistentId = Callable[[Any], int | None]
    T = TypeVar("T")


def either_way(
    attempt: Callable[[parcel.MakePickler], T], persistent_id: PersistentId | None = None
) -> T:
    """Return what ``attempt`` returns with a pickler that sends by name, or else with one by value.

    Args:
        attempt: Pickles with what it is given, from the beginning each time.
        persistent_id: As of a pickler, whose ``persistent_id`` it becomes.

    Raises:
        Exception: That of the first attempt, which names the user's own object, if both fail.
    """
    try:
        return attempt(_by_name(persistent_id))
    except Exception as refusal:  # noqa: BLE001 - the value's own code may raise anything
        try:
            return attempt(_by_value(persistent_id))
        except Exception:  # noqa: BLE001 - the first refusal is the one to tell
            raise refusal from refusal.__cause__


def find_or_build(module: str, qualname: str, value: bytes) -> Any:
    """Return the class or function of that name in this process, or one built from its value."""
    from _pickle import loads

    found: Any = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found if isinstance(found, _kinds()) else loads(value)


def _by_name(persistent_id: PersistentId | None) -> parcel.MakePickler:
    def make(file: BinaryIO, buffers: Callable[[PickleBuffer], bool]) -> Any:
        if persistent_id is None:
            return _with_tensors(parcel.plain(file, buffers))
        return _with_tensors(_numbering(persistent_id)(file, parcel.PROTOCOL))

    return make


def _by_value(persistent_id: PersistentId | None) -> parcel.MakePickler:
    import cloudpickle

    class Homeward(cloudpickle.Pickler):  # type: ignore[misc]
        """Adds the name to what cloudpickle sends by value."""

        def reducer_override(self, obj: Any) -> Any:
            reduced = super().reducer_override(obj)
            if reduced is NotImplemented or not isinstance(obj, _kinds()):
                return reduced
            name: Any = obj
            return find_or_build, (name.__module__, name.__qualname__, cloudpickle.dumps(obj))

    if persistent_id is not None:
        Homeward.persistent_id = staticmethod(persistent_id)

    def make(file: BinaryIO, buffers: Callable[[PickleBuffer], bool]) -> Any:
        return _with_tensors(Homeward(file, parcel.PROTOCOL, buffers))

    return make


def _numbering(persistent_id: PersistentId) -> Any:
    from _pickle import Pickler

    return type("Numbering", (Pickler,), {"persistent_id": staticmethod(persistent_id)})


def _with_tensors(pickler: Any) -> Any:
    if "torch" in sys.modules:
        import copyreg

        from procession._worker.tensors import reducers

        known = getattr(pickler, "dispatch_table", copyreg.dispatch_table)
        pickler.dispatch_table = {**known, **reducers()}
    return pickler


def _kinds() -> tuple[type, ...]:
    from types import FunctionType

    return FunctionType, type
