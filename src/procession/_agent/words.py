"""What a person is told of hosts. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from procession._membership.rules import seat_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from procession._membership.model import Roll, Round, Terms

_NAMED = 6  # hosts; of more only the first and the last are


def roll_call(roll: Roll, terms: Terms, left: float) -> str:
    """Who is waited for, such as ``2 of 8 hosts (have gpu1 … gpu6), 47 s left``.

    Args:
        roll: Who is there.
        terms: What the run was asked to be.
        left: Seconds, infinite where the time is not limited.
    """
    here = [member.host for member in sorted(roll.members, key=seat_order)]
    have = f"(have {host_names(here, roll.total)})"
    missing = terms.least - roll.total
    time = "" if left == math.inf else f", {max(left, 0):.0f} s left"
    if missing > 0:
        number = terms.least if terms.least == terms.most else f"{terms.least} to {terms.most}"
        return f"{missing} of {number} hosts {have}{time}"
    if roll.total < terms.most:
        return f"more hosts, up to {terms.most} {have}{time}"
    return f"the other hosts {have}{time}{_twice(roll)}"


def full_gang(now: Round) -> str:
    """Why a host waits for a place, such as ``the gang is full (gpu1 … gpu8)``."""
    hosts = [seat.host for seat in now.seats]
    return f"the gang is full ({host_names(hosts, len(hosts))})"


def host_names(hosts: Sequence[str], total: int) -> str:
    """Names of hosts, in the order given, where there may be more than are known."""
    if not hosts:
        return "none" if not total else f"{total}"
    if total > len(hosts):
        return f"{', '.join(hosts[:3])} and {total - len(hosts[:3])} more"
    if len(hosts) > _NAMED:
        return f"{hosts[0]} … {hosts[-1]}, {len(hosts)} in all"
    if len(hosts) > 3:
        return f"{hosts[0]} … {hosts[-1]}"
    return ", ".join(hosts)


def _twice(roll: Roll) -> str:
    """Hosts that were given one rank."""
    by_rank: dict[int, str] = {}
    for member in roll.members:
        rank = member.node_rank
        if rank is not None and rank in by_rank:
            return f"; {by_rank[rank]} and {member.host} both have --node-rank {rank}"
        if rank is not None:
            by_rank[rank] = member.host
    return ""
