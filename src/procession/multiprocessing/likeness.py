"""What makes a worker's interpreter like this one: options, paths, the main module."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = [
    "interpreter_flags",
    "main_defines",
    "main_is_a_file",
    "refuse_recursion",
    "server_settings",
    "settings",
]


def server_settings() -> dict[str, Any]:
    """Return what makes a fork server's workers such as this process would start them.

    Raises:
        RuntimeError: As of ``refuse_recursion``.
    """
    found = settings("")
    return {
        "sys_path": list(found["sys_path"]),
        "sys_argv": list(found["sys_argv"]),
        "main_name": found.get("init_main_from_name"),
        "main_path": found.get("init_main_from_path"),
    }


def interpreter_flags() -> list[str]:
    """Return the options this interpreter was started with, as its children should be."""
    from subprocess import _args_from_interpreter_flags  # type: ignore[attr-defined]

    return list(_args_from_interpreter_flags())


def settings(name: str) -> dict[str, Any]:
    """Return what multiprocessing tells a spawned process of that name about this one."""
    from multiprocessing.spawn import get_preparation_data

    refuse_recursion()
    found = dict(get_preparation_data(name))
    found["authkey"] = bytes(found["authkey"])
    if not main_is_a_file(sys.modules["__main__"]):
        found.pop("init_main_from_name", None)
        found.pop("init_main_from_path", None)
        found["sources"] = _interactive_sources()
    return found


def _interactive_sources() -> dict[str, Any]:
    """What `linecache` has of notebook cells and prompts: no worker could read it from a file."""
    import linecache

    return {name: entry for name, entry in linecache.cache.items() if entry[1:2] == (None,)}


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


def main_is_a_file(module: Any) -> bool:
    """True unless main is a notebook, a prompt, ``-c``, stdin, or the ``__main__`` of a package.

    A worker cannot import the first again, and must not import the last: it has no guard, because
    nothing but its start imports it (as multiprocessing.spawn has it).
    """
    spec = getattr(module, "__spec__", None)
    if spec is not None:
        return str(spec.name).rpartition(".")[2] != "__main__"
    return os.path.isfile(getattr(module, "__file__", None) or "")


def main_defines(main: Any, name: str) -> bool:
    """True if a worker that imports the main module finds ``name`` in it.

    A worker imports it under another name, and so does not run what stands under
    ``if __name__ == "__main__":``.
    """
    if not main_is_a_file(main):
        return False
    try:
        with open(main.__file__, encoding="utf-8") as file:
            source = "\n" + file.read()
    except (OSError, ValueError, AttributeError):  # no source that we could read
        return True
    begin = (f"\ndef {name}(", f"\nasync def {name}(", f"\nclass {name}(", f"\nclass {name}:")
    if any(text in source for text in begin):
        return True
    return name not in _names_under_guard(source)


def _names_under_guard(source: str) -> set[str]:
    """The names of functions and classes that a guard of the main module keeps from workers."""
    import ast

    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError):  # not what is running
        return set()
    guarded = [s for s in statements if isinstance(s, ast.If) and "__main__" in ast.dump(s.test)]
    below = [node for guard in guarded for statement in guard.body for node in ast.walk(statement)]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in below if isinstance(node, kinds)}
