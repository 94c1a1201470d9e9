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
    from typing import Any, TypeVar

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


def reducers_by_value() -> dict[Any, Any]:
    """What cloudpickle reduces by, but for what makes of an open file a copy of its text."""
    from io import TextIOWrapper

    import cloudpickle

    known = cloudpickle.Pickler.dispatch_table
    return {kind: reduce for kind, reduce in known.items() if kind is not TextIOWrapper}


def _by_name(persistent_id: PersistentId | None) -> parcel.MakePickler:
    from _pickle import Pickler

    # A pickler looks up both at its making, in C: on its class, or not at all.
    kind: Any = Pickler
    table = _table(None)
    if table or persistent_id:
        kind = type("ByName", (Pickler,), _members(table, persistent_id))
    return lambda file, buffers: kind(file, parcel.PROTOCOL, buffer_callback=buffers)


def _by_value(persistent_id: PersistentId | None) -> parcel.MakePickler:
    import cloudpickle

    def reducer_override(self: Any, obj: Any) -> Any:
        """Add the name to what cloudpickle sends by value."""
        reduced = cloudpickle.Pickler.reducer_override(self, obj)
        if reduced is NotImplemented or not isinstance(obj, _kinds()):
            return reduced
        named: Any = obj
        return find_or_build, (named.__module__, named.__qualname__, cloudpickle.dumps(obj))

    members = _members(_table(reducers_by_value()), persistent_id)
    members["reducer_override"] = reducer_override
    kind: Any = type("ByValue", (cloudpickle.Pickler,), members)
    return lambda file, buffers: kind(file, parcel.PROTOCOL, buffers)


def _members(table: Any, persistent_id: PersistentId | None) -> dict[str, Any]:
    members = {} if table is None else {"dispatch_table": table}
    return (
        members
        if persistent_id is None
        else {**members, "persistent_id": staticmethod(persistent_id)}
    )


def _table(known: Any) -> Any:
    """The dispatch table ``known`` (the standard one where None), with CPU tensors by value."""
    if "torch" not in sys.modules:
        return known
    import copyreg

    from procession._worker.tensors import reducers

    return {**(known or copyreg.dispatch_table), **reducers()}


def _kinds() -> tuple[type, ...]:
    from types import FunctionType

    return FunctionType, type
