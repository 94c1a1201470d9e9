"""What makes a worker's interpreter like this one: options, paths, the main module."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = [
    "code_of_main",
    "interpreter",
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
    names = ("sys_path", "sys_argv", "main_name", "main_path")
    found = {name: value for name, value in settings().items() if name in names}
    return {**found, "multiprocessing": "multiprocessing" in sys.modules}


def interpreter() -> str:
    """Return the Python of workers: this one's, or what `multiprocessing.set_executable` was given."""
    spawn = sys.modules.get("multiprocessing.spawn")
    return os.fsdecode(getattr(spawn, "get_executable", str)() or sys.executable or "")


def interpreter_flags() -> list[str]:
    """Return the options this interpreter was started with, as its children should be."""
    _, *words = sys.orig_argv or [""]
    if words and not words[0].startswith("-"):
        return []  # a script right behind the interpreter: no need of subprocess to say so
    from subprocess import _args_from_interpreter_flags  # type: ignore[attr-defined]

    return list(_args_from_interpreter_flags())


def settings() -> dict[str, Any]:
    """Return what a worker has to know to be an interpreter like this one.

    Returns:
        ``sys_path``, ``sys_argv``; ``main_name`` or ``main_path`` where a worker can import the main
        module again; ``sources``, what `linecache` has of a notebook's cells. As
        multiprocessing.spawn.get_preparation_data has it, whose import alone takes 8 ms.

    Raises:
        RuntimeError: As of ``refuse_recursion``.
    """
    refuse_recursion()
    found: dict[str, Any] = {
        "sys_path": [path or _first_directory() for path in sys.path],
        "sys_argv": list(sys.argv),
        "main_name": None,
        "main_path": None,
        "sources": {},
    }
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if not main_is_a_file(main):
        found["sources"] = _interactive_sources()
    elif spec is not None:
        found["main_name"] = spec.name
    else:
        path = os.path.join(_first_directory(), str(main.__file__))
        found["main_path"] = os.path.normpath(path)
    return found


def _first_directory() -> str:
    """The working directory that an empty entry of the search path means, as multiprocessing has it."""
    process = sys.modules.get("multiprocessing.process")
    try:
        return getattr(process, "ORIGINAL_DIR", None) or os.getcwd()
    except OSError:  # it was removed
        return ""


def code_of_main(path: str | None) -> bytes:
    """Return the main module's code, so that no worker has to compile it again.

    Compiling the shortest module takes 1.6 ms of an interpreter: those of its syntax tree's types.

    Args:
        path: Of its file.

    Returns:
        What `marshal` makes of it; nothing where the main module is not what calls us.
    """
    main = vars(sys.modules["__main__"])
    frame = sys._getframe() if path else None
    while frame is not None:
        code = frame.f_code
        is_main = frame.f_globals is main and code.co_name == "<module>"
        if is_main and os.path.normpath(code.co_filename) == path:
            import marshal

            return marshal.dumps(code)
        frame = frame.f_back
    return b""


def _interactive_sources() -> dict[str, Any]:
    """What `linecache` has of notebook cells and prompts: no worker could read it from a file."""
    import linecache

    return {name: entry for name, entry in linecache.cache.items() if entry[1:2] == (None,)}


def refuse_recursion() -> None:
    """Raise what multiprocessing raises where a worker's import of the main module launches again.

    Raises:
        RuntimeError: The main module starts workers while it is imported.
    """
    process = sys.modules.get("multiprocessing.process")
    by_multiprocessing = process and getattr(process.current_process(), "_inheriting", False)
    by_us = getattr(sys.modules.get("__main__"), "PROCESSION_BOOTSTRAPPING", False)
    if by_us or by_multiprocessing:
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
    """True if a worker that imports the main module finds the same under ``name`` in it.

    A worker imports it under another name, and so does not run what stands under
    ``if __name__ == "__main__":``, nor what is called from there.
    """
    if not main_is_a_file(main):
        return False
    try:
        with open(main.__file__, encoding="utf-8") as file:
            source = "\n" + file.read()
    except (OSError, ValueError, AttributeError):  # no source that we could read
        return True
    begin = (f"def {name}(", f"class {name}(", f"class {name}:")
    if any(f"\n{text}" in source for text in (*begin, f"async {begin[0]}")):
        again = (*(f" {text}" for text in begin), f"{name} =")
        if not any(text in source for text in again):
            return True  # as nearly always, without the parser
    return name not in _names_bound_later(source)


def _names_bound_later(source: str) -> set[str]:
    """The names that a guard of the main module, or a function of it, binds in the module."""
    import ast

    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError):  # not what is running
        return set()
    guarded = [s for s in statements if isinstance(s, ast.If) and "__main__" in ast.dump(s.test)]
    below = [node for guard in guarded for statement in guard.body for node in ast.walk(statement)]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    declared = [node for s in statements for node in ast.walk(s) if isinstance(node, ast.Global)]
    return {
        *(node.name for node in below if isinstance(node, kinds)),
        *(n.id for n in below if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)),
        *(name for node in declared for name in node.names),
    }
