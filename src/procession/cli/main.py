"""The command ``procession``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from procession import __version__
from procession.cli.say import say, write
from procession.cli.words import suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = {"run": "start copies of a script or program, one per rank, and look after them"}
_USAGE = 2  # exit status of a command line that cannot be


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The words after the program's name; ``sys.argv[1:]`` where None.

    Returns:
        The exit status.
    """
    command, *words = (sys.argv[1:] if argv is None else list(argv)) or [""]
    if command == "run":
        from procession.cli.launch import launch

        return launch(words)
    if command in {"-h", "--help", "help"}:
        sys.stdout.write(_help())
        return 0
    if command in {"-V", "--version"}:
        sys.stdout.write(f"procession {__version__}\n")
        return 0
    if not command:
        write(_help())
    else:
        say(_unknown(command))
    return _USAGE


def _help() -> str:
    commands = "\n".join(f"  {name:<8} {text}" for name, text in _COMMANDS.items())
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
    sys.exit(main())
