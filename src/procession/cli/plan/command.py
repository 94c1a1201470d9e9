"""What each worker executes, checked before anything is started or made on disk."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from procession.cli.options.reading import get_use_env
from procession.cli.words import suggestion
from procession.errors import (
    ProgramNotExecutableError,
    ProgramNotFoundError,
    UsageError,
)
from procession.multiprocessing.fork_server import SCRIPT_BOOTSTRAP

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Mapping

LOCAL_RANK = "${local_rank}"
"""Stands for the worker's local rank in the words that SCRIPT gets."""

_ELF = b"\x7fELF"  # elf(5): the first bytes of a program or library, and of no Python file


class Command(NamedTuple):
    """What each worker executes, the same for all up to ``${local_rank}`` in its words.

    Attributes:
        entrypoint: A program, or the function of ``--run-path``.
        words: What it gets as arguments.
    """

    entrypoint: str | Callable[..., Any]
    words: tuple[str, ...]


def find_command(args: Namespace, environ: Mapping[str, str]) -> Command:
    """Decide what is executed, and look whether it can be.

    Args:
        args: The parsed command line.
        environ: The environment that workers inherit.

    Returns:
        The command, with torch.distributed.launch's ``--local-rank`` if that was asked for.

    Raises:
        UsageError: It cannot be started as it was asked for.
    """
    script = args.training_script
    words = (*_local_rank_word(args), *args.training_script_args)
    if args.run_path:
        return _function(script, words)
    if args.no_python and args.module:
        raise UsageError("--no-python and --module exclude each other: a module needs Python.")
    if args.no_python:
        check_program(script, environ)
        return Command(script, words)
    if not args.module and _is_program(script, environ):
        return Command(_with_slash(script), words)
    return Command(
        worker_python(environ), (SCRIPT_BOOTSTRAP, *(["-m"] if args.module else []), script, *words)
    )


def _local_rank_word(args: Namespace) -> tuple[str, ...]:
    return () if get_use_env(args) else (f"--local-rank={LOCAL_RANK}",)


def _function(script: str, words: tuple[str, ...]) -> Command:
    from procession.cli.plan.run_path import run_script_path

    if not os.path.exists(script):
        raise _no_such_script(script, os.environ)
    return Command(run_script_path, (script, *words))


def worker_python(environ: Mapping[str, str]) -> str:
    """The interpreter of workers: PYTHON_EXEC, as in torchrun, or this one.

    Raises:
        UsageError: PYTHON_EXEC cannot be executed.
    """
    python = environ.get("PYTHON_EXEC")
    if python is None:
        return sys.executable
    try:
        check_program(python, environ)
    except UsageError as error:
        raise type(error)(f"PYTHON_EXEC in the environment: {error}") from None
    return python


# --- scripts ---


def _is_program(script: str, environ: Mapping[str, str]) -> bool:
    """Look whether Python can run the script.

    Returns:
        True if it is an ELF program, which Python cannot run but the kernel can.

    Raises:
        UsageError: It is missing, unreadable, or a directory without ``__main__.py``.
    """
    try:
        mode = os.stat(script).st_mode
        head = _first_bytes(script) if stat.S_ISREG(mode) else b""
    except (FileNotFoundError, NotADirectoryError):
        raise _no_such_script(script, environ) from None
    except OSError as error:
        raise UsageError(f"{script}: {error.strerror}. Python has to read it: chmod +r.") from None
    if stat.S_ISDIR(mode) and not os.path.isfile(os.path.join(script, "__main__.py")):
        raise UsageError(f"{script} is a directory without __main__.py. Give a script in it.")
    return head == _ELF and os.access(script, os.X_OK)


def _first_bytes(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read(len(_ELF))


def _no_such_script(script: str, environ: Mapping[str, str]) -> UsageError:
    directory, name = os.path.split(script)
    if not directory and _on_path(name, environ):
        hint = f" {name} is a program on PATH: to start it, add --no-python."
    elif directory and not os.path.isdir(directory):
        hint = f" There is no directory {directory}."
    else:
        hint = suggestion(name, _names_in(directory or ".")) or " For a module, add -m."
    place = "" if directory else f" in {_cwd()}"
    return UsageError(f"{script}: no such script{place}.{hint}")


def _names_in(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "a directory that has been removed"


def _with_slash(path: str) -> str:
    """The path so that it is not searched for on PATH."""
    return path if os.sep in path else os.path.join(os.curdir, path)


# --- programs ---


def check_program(name: str, environ: Mapping[str, str]) -> None:
    """Look whether a program can be executed, as a shell finds it.

    Args:
        name: A path, or a name to look for on PATH.
        environ: The environment, for PATH.

    Raises:
        ProgramNotFoundError: There is no such file.
        ProgramNotExecutableError: There is one, but it cannot be executed.
    """
    candidates = [name] if os.sep in name else _on_path(name, environ)
    found = [path for path in candidates if os.path.exists(path)]
    if not found:
        raise ProgramNotFoundError(f"{name}: no such program.{_local_hint(name)}")
    if not any(_executable(path) for path in found):
        raise ProgramNotExecutableError(_why_not(found[0]))


def _on_path(name: str, environ: Mapping[str, str]) -> list[str]:
    """The files of that name on PATH, executable or not."""
    directories = environ.get("PATH", os.defpath).split(os.pathsep)
    paths = [os.path.join(directory or os.curdir, name) for directory in directories]
    return [path for path in paths if name and os.path.isfile(path)]


def _executable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _local_hint(name: str) -> str:
    if os.sep not in name and os.path.isfile(name):
        return f" For the one in this directory: ./{name}"
    if os.sep in name:
        return suggestion(
            name,
            [
                os.path.join(os.path.dirname(name), each)
                for each in _names_in(os.path.dirname(name))
            ],
        )
    return " It is not on PATH."


def _why_not(path: str) -> str:
    if os.path.isdir(path):
        return f"{path} is a directory, not a program."
    if path.endswith(".py"):
        return f"{path} is not executable. Leave out --no-python, or: chmod +x {path}"
    return f"{path} is not executable. To make it so: chmod +x {path}"
