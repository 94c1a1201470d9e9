"""The command ``procession``."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import TYPE_CHECKING

from procession import __version__
from procession.cli.say import say, write
from procession.cli.words import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

# Name: what it does, and the module whose `launch(words) -> exit status` does it, imported on use.
_COMMANDS = {
    "run": (
        "start copies of a script or program, one per rank, and look after them",
        "procession.cli.run.launch",
    ),
    "reap": (
        "end what a run left whose launcher and guardian were killed together",
        "procession.cli.reap",
    ),
    "logs": (
        "show what the workers of a run have written, or write",
        "procession.cli.logs.command",
    ),
}
_USAGE = 2  # exit status of a command line that cannot be


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The words after the program's name; ``sys.argv[1:]`` where None.

    Returns:
        The exit status.
    """
    name, *words = (sys.argv[1:] if argv is None else list(argv)) or [""]
    if name in _COMMANDS:
        return _launcher(_COMMANDS[name][1])(words)
    if name in {"-h", "--help", "help"}:
        sys.stdout.write(_help())
        return 0
    if name in {"-V", "--version"}:
        sys.stdout.write(f"procession {__version__}\n")
        return 0
    if not name:
        write(_help())
    else:
        say(_unknown(name))
    return _USAGE


def command() -> NoReturn:
    """Be the process ``procession``: run the command and end with its status."""
    leave(main())


def leave(status: int) -> NoReturn:
    """End this process without taking the interpreter apart, which costs a tenth of a short run.

    Exit functions run, the streams have been flushed (``let_go_of_lost_streams``). A thread that a
    plug-in has left is waited for in the ordinary way.
    """
    if any(not thread.daemon for thread in threading.enumerate()[1:]):
        _hear_signals()
        sys.exit(status)
    atexit._run_exitfuncs()
    os._exit(status)


def _hear_signals() -> None:
    """Let whoever waits for such a thread end that: a run that has ended hears nothing any more."""
    import signal

    for signum in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if callable(signal.getsignal(signum)):
            signal.signal(signum, signal.SIG_DFL)


def _launcher(module: str) -> Callable[[Sequence[str]], int]:
    from importlib import import_module

    launch: Callable[[Sequence[str]], int] = import_module(module).launch
    return launch


def _help() -> str:
    commands = "\n".join(f"  {name:<8} {text}" for name, (text, _) in _COMMANDS.items())
    return (
        "usage: procession COMMAND [OPTIONS]\n\n"
        f"commands:\n{commands}\n\n"
        "options:\n  --version\n  --help   of a command: procession COMMAND --help\n"
    )


def _unknown(command: str) -> str:
    if os.path.exists(command) or command.endswith(".py"):
        return f"no command {command}. To start it: procession run {command}"
    hint = suggestion(command, _COMMANDS) or f" There is: {', '.join(_COMMANDS)}."
    return f"no command {command}.{hint}"


if __name__ == "__main__":
    command()
