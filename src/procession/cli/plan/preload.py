"""``--preload``: which modules, and whether what is started can be forked at all. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procession.cli.options.actions import Default
from procession.errors import UsageError
from procession.multiprocessing.fork_server import SCRIPT_BOOTSTRAP, module_names

if TYPE_CHECKING:
    from argparse import Namespace

    from procession.cli.plan.command import Command


def preloaded(args: Namespace, command: Command) -> tuple[str, ...]:
    """Return the modules that workers find imported.

    Args:
        args: The parsed command line.
        command: What each worker executes.

    Raises:
        UsageError: They are no modules' names, or ``command`` has nothing to be forked from.
    """
    words = [word.strip() for word in args.preload.split(",") if word.strip()]
    try:
        modules = module_names(words)
    except UsageError as error:
        raise UsageError(f"--preload {args.preload}: {error}.") from None
    if modules and isinstance(command.entrypoint, str) and command.words[:1] != (SCRIPT_BOOTSTRAP,):
        raise UsageError(
            f"--preload {args.preload}: {args.training_script} is a program, and modules are "
            "preloaded for Python. Leave out --preload."
        )
    return modules


def spares(args: Namespace) -> int:
    """Return how many interpreters wait with the imports done.

    Raises:
        UsageError: Fewer than none, or there is nothing for them to import.
    """
    if args.spares < 0:
        raise UsageError(f"--spares {args.spares}: give a number of interpreters, 0 for none.")
    if args.spares and not args.preload:
        raise UsageError(
            f"--spares {args.spares}: spares wait with modules imported. Name these by --preload."
        )
    return int(args.spares)


def start_method(args: Namespace) -> str:
    """Return how function workers start: as asked for, or from the server of ``--preload``.

    Raises:
        UsageError: Another method than ``forkserver`` was asked for beside ``--preload``.
    """
    method = str(args.start_method)
    if not args.preload:
        return method
    if not isinstance(args.start_method, Default) and method != "forkserver":
        raise UsageError(
            f"--start-method {method} and --preload exclude each other: workers that find modules "
            "imported are forked from a server. Leave out one of the two."
        )
    return "forkserver"
