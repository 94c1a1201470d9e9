"""``procession run`` from its words to its end: read them, make a plan, carry it out or explain it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from procession.cli.options.reading import parse_args
from procession.errors import UsageError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from procession._guardian.kept import KeptGuardian
    from procession.cli.plan.plan import Plan
    from procession.launcher import LaunchConfig


def run(args: Namespace, guardian: KeptGuardian | None = None) -> None:
    """Do what a parsed command line asks for.

    Args:
        args: What ``get_args_parser().parse_args()`` returned.
        guardian: One that was started ahead; who gives it closes it.

    Raises:
        UsageError: It cannot be done as it was asked for; nothing was started. (A ``ValueError``.)
        ChildFailedError: Workers failed.
        SignalException: A signal to this process ended the run.
        ProcessionError: The run could not be started or carried on.
    """
    if _meets_by_others(args):
        _launch_by_library(args)
        return
    plan = _plan(args)
    if args.explain:
        from procession.cli.plan.explain import explain
        from procession.cli.rundir import default_base

        sys.stdout.write(explain(plan, os.path.abspath(plan.logs.directory or default_base())))
        return
    from procession.cli.run.execute import execute

    execute(plan, guardian)


def config_from_args(
    args: Namespace,
) -> tuple[LaunchConfig, Callable[..., Any] | str, list[str]]:
    """Make of a parsed command line what ``elastic_launch`` takes.

    Args:
        args: The parsed command line.

    Returns:
        How to launch, what, and its arguments.

    Raises:
        UsageError: Something cannot be as it was asked for. (A ``ValueError``.)
    """
    from procession.cli.plan.command import find_command
    from procession.cli.plan.config import make_config
    from procession.cli.plan.devices import count_workers

    command = find_command(args, os.environ)
    return make_config(args, count_workers(args.nproc_per_node, os.environ), command)


def _meets_by_others(args: Namespace) -> bool:
    """Whether hosts meet by a handler that somebody else has made."""
    from procession.cli.options.nodes import BACKENDS

    if args.standalone or args.rdzv_backend in BACKENDS:
        return False
    from procession.rendezvous import rendezvous_handler_registry

    return rendezvous_handler_registry.knows(args.rdzv_backend)


def _launch_by_library(args: Namespace) -> None:
    """Launch as a caller of the library would: its agent is what handlers are made for."""
    from procession.launcher import elastic_launch

    if args.explain:
        raise UsageError(
            f"--explain: what --rdzv-backend {args.rdzv_backend} does only its own code tells."
        )
    config, entrypoint, words = config_from_args(args)
    elastic_launch(config, entrypoint)(*words)


def _plan(args: Namespace) -> Plan:
    from procession.cli.plan.command import find_command
    from procession.cli.plan.devices import count_workers
    from procession.cli.plan.plan import make_plan

    command = find_command(args, os.environ)
    workers = count_workers(args.nproc_per_node, os.environ)
    return make_plan(args, os.environ, workers, command)


def main(args: Any = None, guardian: KeptGuardian | None = None) -> None:
    """Read a command line and do what it asks for.

    Args:
        args: Its words; ``sys.argv[1:]`` where None.
        guardian: One that was started ahead; who gives it closes it.

    Raises:
        SystemExit: The command line is wrong, or help was asked for.
        Exception: What ``run`` raises. It is written to this process's own error file too, if
            TORCHELASTIC_ERROR_FILE names one.
    """
    options = parse_args(args)
    if os.environ.get("TORCHELASTIC_ERROR_FILE"):  # we are a worker of another launcher
        from procession.multiprocessing.errors import record

        record(run)(options, guardian)
    else:
        run(options, guardian)
