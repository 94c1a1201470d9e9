"""What is wished of the console: whose lines, behind which head, in which look."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from procession._logs.lines import LONGEST_HELD
from procession._logs.look import Look, wanted_colour
from procession.errors import UsageError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping

_SIZE = r"(?ai)(\d{1,9})([KM]?)"
_RANKS = r"(?a)(\d{1,6})(?:-(\d{1,6}))?"


def look(args: Namespace, environ: Mapping[str, str]) -> Look:
    """How lines look.

    Raises:
        UsageError: ``--line-limit`` is no size, or ``--console`` no list of ranks.
    """
    return Look(
        wanted_colour(environ),
        fold=args.fold,
        limit=_line_limit(args.line_limit),
        ranks=_global_ranks(args.console) if args.console else None,
    )


def prefixes(
    args: Namespace, environ: Mapping[str, str], workers: int, *, alone: bool
) -> dict[int, str] | None:
    """The head of each local rank's lines, None for the usual.

    ``${time}`` is left to whoever shows them, and so are ranks that are not known yet, where there are
    other hosts.
    """
    template = args.prefix or environ.get("TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE")
    if not template:
        return None
    import socket
    from string import Template

    known = {"role_name": args.role, "host": socket.gethostname(), "time": "${time}"}
    return {
        local: Template(template).safe_substitute(
            known, local_rank=local, **({"rank": local} if alone else {})
        )
        for local in range(workers)
    }


def _global_ranks(text: str) -> frozenset[int]:
    ranks: set[int] = set()
    for part in text.replace(" ", "").split(","):
        match = re.fullmatch(_RANKS, part)
        if match is None:
            raise UsageError(f"--console {text}: give global ranks and ranges, such as 0,4-7.")
        ranks |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return frozenset(ranks)


def _line_limit(text: str | None) -> int:
    if text is None:
        return LONGEST_HELD
    match = re.fullmatch(_SIZE, text.strip())
    size = int(match[1]) << 10 * " KM".index(match[2].upper() or " ") if match else 0
    if not 0 < size <= LONGEST_HELD:
        raise UsageError(f"--line-limit {text}: give 1 to 128M, such as 200, 64K or 1M.")
    return size
