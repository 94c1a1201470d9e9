"""Naming what cannot go to another process, and the way out."""

from __future__ import annotations

from itertools import islice
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from procession._worker.errorfile import words
from procession.multiprocessing.outward import is_importable, is_picklable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["explain", "too_many_fds"]

_DEPTH = 20  # parts that are entered on the way from an argument to the culprit in it
_BREADTH = 1000  # parts of one object that are looked at


def explain(
    fn: Callable[..., Any], args: Iterable[Any], error: Exception, start_method: str
) -> str:
    """Return what is to be said of a call that the pickler has refused.

    Args:
        fn: The function.
        args: Its arguments.
        error: The pickler's.
        start_method: How workers are started.
    """
    said = words(error).rstrip(".")
    culprit = next((_innermost(*suspect) for suspect in _suspects(fn, args)), None)
    hint = (
        f"Make locks, queues and events with multiprocessing.get_context({start_method!r})."
        if "SemLock" in said
        else "Pass plain data and open files, sockets or locks inside the function, "
        'or use start_method="fork".'
    )
    return f"{culprit or 'the function with its arguments'} cannot be pickled: {said}. {hint}"


def too_many_fds(fn: Callable[..., Any], count: int, most: int) -> str:
    """Return what is to be said where arguments hold more descriptors than one message carries."""
    return (
        f"the arguments of {_name_of(fn)} hold {count} file descriptors, and a worker can be handed "
        f'{most}; pass fewer pipes, queues or tensors at once, or use start_method="fork"'
    )


def _suspects(fn: Callable[..., Any], args: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    named = [(f"argument {index} of {_name_of(fn)}", value) for index, value in enumerate(args)]
    for what, value in ((f"the function {_name_of(fn)}", fn), *named):
        if not is_picklable(value):
            yield what, value


def _innermost(what: str, value: Any) -> str:
    """Name the smallest part of what cannot be pickled that cannot."""
    return _search(what, value, {id(value): value}) or _described(what, value)


def _search(what: str, value: Any, seen: dict[int, Any]) -> str | None:
    """Name it; None where a part cannot be pickled for no reason but what has been ``seen``."""
    in_a_circle = False
    for step, part in islice(_parts(value), _BREADTH):
        if id(part) in seen:
            in_a_circle = True
        elif not is_picklable(part):
            seen[id(part)] = part
            deep = len(seen) > _DEPTH
            found = _described(what + step, part) if deep else _search(what + step, part, seen)
            if found is not None:
                return found
    return None if in_a_circle else _described(what, value)


def _described(what: str, value: Any) -> str:
    return f"{what}, of type {type(value).__qualname__}," if not callable(value) else what


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a value, each with how it is got at; a thing of multiprocessing is one whole."""
    if type(value).__module__.startswith("multiprocessing."):
        return
    if isinstance(value, dict):
        yield from ((f"[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    for name in ("func", "args", "keywords", "__self__"):  # of a partial, of a bound method
        if callable(value) and not isinstance(value, type) and hasattr(value, name):
            yield f".{name}", getattr(value, name)
    cells = getattr(value, "__closure__", None) or ()
    names = getattr(getattr(value, "__code__", None), "co_freevars", ())
    for name, cell in zip(names, cells, strict=False):
        yield f", its variable {name}", getattr(cell, "cell_contents", None)
    if isinstance(value, FunctionType) and not is_importable(value):
        known = value.__globals__
        yield from ((f", its global {n}", known[n]) for n in _globals(value.__code__) if n in known)
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict):
        yield from ((f".{name}", part) for name, part in attributes.items())


def _globals(code: CodeType) -> Iterator[str]:
    """The names of the module's that a function, or one inside it, uses."""
    from dis import get_instructions

    yield from (each.argval for each in get_instructions(code) if "_GLOBAL" in each.opname)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _globals(inner)


def _name_of(fn: Callable[..., Any]) -> str:
    return str(getattr(fn, "__qualname__", None) or repr(fn))
