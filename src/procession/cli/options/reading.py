"""Reading a command line of ``procession run``, and what torchrun's own readers are called for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procession.cli.options.flags import build_parser

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence


def parse_args(args: Sequence[str] | None) -> Namespace:
    """Read a command line.

    Args:
        args: Its words; ``sys.argv[1:]`` where None.

    Returns:
        The options, with SCRIPT in ``training_script`` and its words in ``training_script_args``.

    Raises:
        SystemExit: The command line is wrong, or help was asked for.
        UsageError: A ``PET_*`` variable is wrong.
    """
    return build_parser().parse_args(args)


def get_use_env(args: Namespace) -> bool:
    """Whether LOCAL_RANK alone tells a worker its local rank, without a ``--local-rank`` argument.

    Args:
        args: The parsed command line; torch.distributed.launch's has ``use_env``.
    """
    return bool(getattr(args, "use_env", True))


def get_rdzv_endpoint(args: Namespace) -> str:
    """Say where nodes meet.

    Args:
        args: The parsed command line.

    Returns:
        ``--rdzv-endpoint``; without it, and with the static back end, MASTER_ADDR:MASTER_PORT.
    """
    if args.rdzv_backend == "static" and not args.rdzv_endpoint:
        return f"{args.master_addr}:{args.master_port}"
    return str(args.rdzv_endpoint)
