"""A command line as the library takes it; and hosts that meet by a handler of somebody else's."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from procession.cli.options.nodes import min_max, read_conf
from procession.cli.options.reading import get_rdzv_endpoint
from procession.cli.plan.plan import make_plan
from procession.cli.plan.specs import make_specs
from procession.cli.rundir import default_base
from procession.launcher import LaunchConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from procession.cli.plan.command import Command

_PORT = 29500  # torchrun's, of the static back end


def make_config(
    args: Namespace, workers: int, command: Command
) -> tuple[LaunchConfig, Callable[..., Any] | str, list[str]]:
    """Make of a parsed command line what ``elastic_launch`` takes.

    Args:
        args: The parsed command line.
        workers: How many workers this host is to have.
        command: What each executes.

    Returns:
        How to launch, what, and its arguments.

    Raises:
        UsageError: Something cannot be as it was asked for.
    """
    least, most = min_max(args.nnodes)
    plan = make_plan(_of_one_host(args), os.environ, workers, command)
    conf: dict[str, Any] = dict(read_conf(args.rdzv_conf))
    if args.rdzv_backend == "static":
        conf["rank"] = int(args.node_rank)
    config = LaunchConfig(
        min_nodes=least,
        max_nodes=most,
        nproc_per_node=workers,
        logs_specs=make_specs(plan.logs, plan.logs.directory or default_base()),
        run_id=plan.run_id or "",
        role=args.role,
        rdzv_endpoint=get_rdzv_endpoint(_with_port(args)),
        rdzv_backend=args.rdzv_backend,
        rdzv_configs=conf,
        max_restarts=args.max_restarts,
        monitor_interval=args.monitor_interval,
        start_method=plan.start_method,
        log_line_prefix_template=os.environ.get("TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE"),
        local_addr=args.local_addr,
        event_log_handler=args.event_log_handler,
        signals_to_handle=args.signals_to_handle,
        duplicate_stdout_filters=args.duplicate_stdout_filters,
        duplicate_stderr_filters=args.duplicate_stderr_filters,
        virtual_local_rank=args.virtual_local_rank,
        shutdown_timeout=args.shutdown_timeout,
        restarts=plan.restarts,
    )
    return config, command.entrypoint, list(command.words)


def _of_one_host(args: Namespace) -> Namespace:
    """The same for this host alone: all but how hosts meet is checked by it."""
    alone = {"nnodes": "1", "rdzv_backend": "static", "rdzv_endpoint": "", "node_rank": 0}
    return Namespace(**{**vars(args), **alone, "standalone": False})


def _with_port(args: Namespace) -> Namespace:
    return Namespace(**{**vars(args), "master_port": args.master_port or _PORT})
