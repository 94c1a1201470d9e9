"""Start copies of a script on this host; named as ``torch.distributed.run``.

    procession run -n 4 train.py
    python -m procession.run --nproc-per-node 4 train.py

The options are torchrun's; ``procession run --help`` lists them and docs/command.md explains them.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from procession.cli.options.flags import build_parser
from procession.cli.options.reading import get_rdzv_endpoint, get_use_env, parse_args
from procession.cli.plan.run_path import run_script_path
from procession.cli.run.entry import config_from_args, main, run

if TYPE_CHECKING:
    from argparse import ArgumentParser

__all__ = [
    "config_from_args",
    "determine_local_world_size",
    "get_args_parser",
    "get_rdzv_endpoint",
    "get_use_env",
    "main",
    "parse_args",
    "parse_min_max_nnodes",
    "run",
    "run_script_path",
]


def get_args_parser() -> ArgumentParser:
    """Make the parser of the command line, to use it or to add options to it.

    Returns:
        A parser with all of torchrun's options and procession's own. Values of ``PET_*`` variables
        are its defaults.

    Raises:
        UsageError: A ``PET_*`` variable has a value that its option cannot have.
    """
    return build_parser()


def determine_local_world_size(nproc_per_node: str) -> int:
    """Say how many workers ``--nproc-per-node`` asks for on this host.

    Args:
        nproc_per_node: A number from 1 up; or ``cpu``, ``gpu``, ``xpu``, ``auto`` or the name of a
            back end of torch: as many as there are.

    Returns:
        The number.

    Raises:
        UsageError: It is neither, or there is none. (A ``ValueError``.)
    """
    from procession.cli.plan.devices import count_workers

    return count_workers(nproc_per_node, os.environ)


def parse_min_max_nnodes(nnodes: str) -> tuple[int, int]:
    """Read ``--nnodes``.

    Args:
        nnodes: A number of nodes, or ``MIN:MAX``.

    Returns:
        The least and the greatest number.

    Raises:
        UsageError: It is neither. (A ``ValueError``.)
    """
    from procession.cli.options.nodes import min_max

    return min_max(nnodes)


if __name__ == "__main__":
    from procession.cli.main import leave
    from procession.cli.run.launch import launch

    leave(launch(sys.argv[1:]))
