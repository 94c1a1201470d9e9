"""Functions and arguments on their way to a worker that does not share the launcher's memory."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Any

from procession.errors import NotPicklableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "FIRST_HANDED_OVER",
    "Payload",
    "interpreter_flags",
    "refuse_recursion",
    "server_settings",
]

FIRST_HANDED_OVER = 7  # the worker's fds: 0-2 std, 3 lock, 4 payload, 5 result, 6 resource tracker
_LENGTH = 8  # bytes, as in _worker/function.py


class Payload:
    """One worker's function and arguments, pickled, with the fds that arguments hand over.

    multiprocessing's own objects ask the "spawning popen" for the number that an fd will have in
    the child; this object answers in its place.
    """

    def __init__(self, name: str, fn: Callable[..., Any], args: Sequence[Any]) -> None:
        """Pickle ``fn(*args)`` for one worker.

        Raises:
            NotPicklableError: Names the object that cannot go to another process.
        """
        from multiprocessing.popen_spawn_posix import _DupFd

        self.DupFd = _DupFd
        self.handed_over: list[int] = []
        body = self._pickle(fn, args)
        self.needs_multiprocessing = b"multiprocessing" in body
        self._parts = (_dump(self._settings(name)), body)

    def duplicate_for_child(self, fd: int) -> int:
        """Promise the child a copy of ``fd``; called by multiprocessing while it pickles."""
        self.handed_over.append(fd)
        return FIRST_HANDED_OVER + len(self.handed_over) - 1

    def open(self) -> int:
        """Return an fd that reads the payload; it is a file, so no reader need be waited for."""
        fd = _anonymous_file()
        with open(fd, "wb", closefd=False) as file:
            file.writelines(len(part).to_bytes(_LENGTH, "little") + part for part in self._parts)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    def _settings(self, name: str) -> dict[str, Any]:
        return {**_settings(name), "multiprocessing": self.needs_multiprocessing}

    def _pickle(self, fn: Callable[..., Any], args: Sequence[Any]) -> bytes:
        from multiprocessing.context import set_spawning_popen

        set_spawning_popen(self)  # type: ignore[arg-type]
        try:
            return _dump((fn, tuple(args)))
        except Exception as error:
            raise NotPicklableError(_explain(fn, args, error)) from error
        finally:
            set_spawning_popen(None)


def server_settings() -> dict[str, Any]:
    """Return what makes a fork server's workers such as this process would start them.

    Raises:
        RuntimeError: As of ``refuse_recursion``.
    """
    settings = _settings("")
    return {
        "sys_path": list(settings["sys_path"]),
        "sys_argv": list(settings["sys_argv"]),
        "main_name": settings.get("init_main_from_name"),
        "main_path": settings.get("init_main_from_path"),
    }


def interpreter_flags() -> list[str]:
    """Return the options this interpreter was started with, as its children should be."""
    from subprocess import _args_from_interpreter_flags  # type: ignore[attr-defined]

    return list(_args_from_interpreter_flags())


def _settings(name: str) -> dict[str, Any]:
    from multiprocessing.spawn import get_preparation_data

    refuse_recursion()
    settings = dict(get_preparation_data(name))
    settings["authkey"] = bytes(settings["authkey"])
    if not _main_is_a_file(sys.modules["__main__"]):
        settings.pop("init_main_from_name", None)
        settings.pop("init_main_from_path", None)
    return settings


def refuse_recursion() -> None:
    """Raise what multiprocessing raises where a worker's import of the main module launches again.

    Raises:
        RuntimeError: The main module starts workers while it is imported.
    """
    if getattr(sys.modules.get("__main__"), "PROCESSION_BOOTSTRAPPING", False):
        raise RuntimeError(
            "workers are started while the main module is being imported by a worker. Put the start "
            "under 'if __name__ == \"__main__\":', so that importing the file starts nothing."
        )


def _dump(value: Any) -> bytes:
    from multiprocessing.reduction import ForkingPickler

    class ByValueWhereNeeded(ForkingPickler):
        """Pickles by reference what the worker can import, and by value what it cannot."""

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, _by_reference_kinds()) and not _importable(obj):
                return _by_value(obj)
            return NotImplemented

    buffer = io.BytesIO()
    ByValueWhereNeeded(buffer, -1).dump(value)
    return buffer.getvalue()


def _by_reference_kinds() -> tuple[type, ...]:
    from types import FunctionType

    return FunctionType, type


def _importable(obj: Any) -> bool:
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    if module is None or (module.__name__ == "__main__" and not _main_is_a_file(module)):
        return False
    found: Any = module
    for name in obj.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is obj


def _main_is_a_file(module: Any) -> bool:
    """True unless main is a notebook, a prompt, ``-c``, stdin, or the ``__main__`` of a package.

    A worker cannot import the first again, and must not import the last: it has no guard, because
    nothing but its start imports it (as multiprocessing.spawn has it).
    """
    spec = getattr(module, "__spec__", None)
    if spec is not None:
        return str(spec.name).rpartition(".")[2] != "__main__"
    return os.path.isfile(getattr(module, "__file__", None) or "")


def _by_value(obj: Any) -> Any:
    import pickle

    import cloudpickle

    return pickle.loads, (cloudpickle.dumps(obj),)


def _explain(fn: Callable[..., Any], args: Sequence[Any], error: Exception) -> str:
    culprit = next((what for what, value in _suspects(fn, args) if not _picklable(value)), None)
    hint = (
        "Create locks, queues and events with multiprocessing.get_context(start_method), where "
        "start_method is the one given to start_processes."
        if "context" in str(error)
        else "Pass plain data and open files, sockets or locks inside the function, "
        'or use start_method="fork".'
    )
    return f"{culprit or 'the function with its arguments'} cannot be pickled: {error}. {hint}"


def _suspects(fn: Callable[..., Any], args: Sequence[Any]) -> list[tuple[str, Any]]:
    name = getattr(fn, "__qualname__", repr(fn))
    numbered = [
        (f"argument {index} of {name}, of type {type(value).__qualname__},", value)
        for index, value in enumerate(args)
    ]
    return [(f"the function {name}", fn), *numbered]


def _picklable(value: Any) -> bool:
    try:
        _dump(value)
    except Exception:  # noqa: BLE001 - any failure at all is the answer
        return False
    return True


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("procession-payload")
    from tempfile import TemporaryFile

    with TemporaryFile() as file:
        return os.dup(file.fileno())
