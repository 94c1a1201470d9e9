"""What the options say of restarts. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procession._restarts.options import read_policy
from procession.cli.words import suggestion

if TYPE_CHECKING:
    from argparse import Namespace

    from procession._restarts.policy import RestartPolicy


def policy_of(args: Namespace) -> RestartPolicy:
    """The policy that the options ask for.

    Raises:
        UsageError: Naming the option.
    """
    return read_policy(
        args.restart_on,
        args.no_restart_on,
        args.restart_backoff,
        args.restart_refill,
        suggest=suggestion,
    )
