"""What happened in the last round of a run, host by host: what every host's report is made of. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from procession._membership.clocks import ahead

if TYPE_CHECKING:
    from collections.abc import Iterable

    from procession._membership.cause import Finding
    from procession._membership.model import Outcome, Round, View

_ROOM = 256 * 1024  # characters of all stories; etcd takes 1.5 MiB a write (--max-request-bytes)


def whole(view: View, now: Round, finding: Finding | None, leader: str) -> str:
    """All that hosts have told of a round.

    Args:
        view: As the leader has seen it.
        now: The round.
        finding: Which host is taken for the cause; None for a lost one, or for none.
        leader: Its id.

    Returns:
        JSON: ``root`` (rank of the host of the cause, or null), ``by`` (what decided, see
        ``cause.Finding``), ``rivals`` (ranks of hosts that may have failed before it), ``hosts``: of each,
        by rank, its ``host``, ``fate`` (``lost`` where it told none), ``ahead_ns`` and ``doubt_ns`` (by how
        much its clock is ahead of the leader's, and by how much that may be wrong; null where clocks
        were not compared), ``text``, and ``story`` (as its host has written it, "" where it did not fit).
    """
    told = {outcome.id: outcome for outcome in view.outcomes}
    root = now.rank(finding.id) if finding else None
    rivals = [rank for rank in map(now.rank, finding.rivals if finding else ()) if rank is not None]
    hosts = [_host(seat.host, told.get(seat.id), leader) for seat in now.seats]
    first = [rank for rank in (root, *sorted(rivals)) if rank is not None]
    _cut(hosts, [*first, *(rank for rank in range(len(hosts)) if rank not in first)])
    found = {"root": root, "by": finding.by if finding else "", "rivals": rivals, "hosts": hosts}
    return json.dumps(found, separators=(",", ":"))


def _host(name: str, told: Outcome | None, leader: str) -> dict[str, Any]:
    offset = ahead(told, leader) if told else None
    return {
        "host": name,
        "fate": told.fate.value if told else "lost",
        "ahead_ns": offset.middle if offset else None,
        "doubt_ns": offset.doubt if offset else None,
        "text": told.account.text if told else "",
        "story": told.account.story if told else "",
    }


def _cut(hosts: list[dict[str, Any]], ranks: Iterable[int]) -> None:
    """Drop the stories that do not fit; those of the ranks that come first are kept first."""
    room = _ROOM
    for rank in ranks:
        room -= len(hosts[rank]["story"])
        if room < 0:
            hosts[rank]["story"] = ""
