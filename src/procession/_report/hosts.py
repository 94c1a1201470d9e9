"""The report of a run over several hosts, from what each of them has told. Pure.

What is read here came over the network, from the host that led: as in ``stories.py``, whatever it holds
raises nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from procession._report.ledger import Ledger
from procession._report.stories import Story, read_story
from procession._report.view import FailureView, ReportView
from procession._report.weight import KILLED, OWN_ERROR, weight
from procession._report.words import ranks_text, span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Host(NamedTuple):
    """One host's part in the round that ended the run.

    Attributes:
        rank: Its rank among hosts.
        name: Its name.
        fate: ``failed``, ``stopped``, ``succeeded``, ``left`` or ``lost``.
        ahead_ns: By how much its clock is ahead of that of the host that led; None if not compared.
        doubt_ns: By how much that may be wrong.
        text: A failure that is no worker's, in words.
        story: What its workers have come to.
        complete: The story was not too long to be told.
    """

    rank: int
    name: str
    fate: str
    ahead_ns: int | None
    doubt_ns: int | None
    text: str
    story: Story
    complete: bool


class Whole(NamedTuple):
    """What all hosts have told.

    Attributes:
        root: The host of the root cause; None where that is a lost one, or none.
        by: What decided: ``clocks``, ``evidence`` or ``order``.
        rivals: Hosts that may have failed before it, as far as clocks can tell.
        hosts: All, by rank.
    """

    root: Host | None
    by: str
    rivals: tuple[Host, ...]
    hosts: tuple[Host, ...]


def read_whole(text: str) -> Whole:
    """Read what ``_membership.whole`` has written; of no hosts where it makes no sense."""
    try:
        data = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        data = {}
    data = data if isinstance(data, dict) else {}
    rows = data.get("hosts")
    rows = rows if isinstance(rows, list) else []
    hosts = tuple(_host(n, row) for n, row in enumerate(rows) if isinstance(row, dict))
    rivals = data.get("rivals")
    return Whole(
        next(_picked(hosts, [data.get("root")]), None),
        str(data.get("by", "")),
        tuple(_picked(hosts, rivals if isinstance(rivals, list) else [])),
        hosts,
    )


def _picked(hosts: Sequence[Host], ranks: Sequence[object]) -> Iterator[Host]:
    return (host for host in hosts if host.rank in ranks)


def _host(rank: int, row: dict[str, Any]) -> Host:
    story, ahead, doubt = row.get("story"), row.get("ahead_ns"), row.get("doubt_ns")
    compared = isinstance(ahead, int) and isinstance(doubt, int)
    return Host(
        rank,
        str(row.get("host", "")),
        str(row.get("fate", "")),
        ahead if compared else None,
        doubt if compared else None,
        str(row.get("text") or ""),
        read_story(story if isinstance(story, str) else ""),
        bool(story) or row.get("fate") == "lost",
    )


def report_of(whole: Whole, name: str, reason: str) -> ReportView:
    """One report of all hosts: the root cause first, the rest by its time.

    Args:
        whole: What they have told.
        name: What was run.
        reason: Why the run has ended, for where no worker is the cause.

    Returns:
        The report. Times are as the clock of the root cause's host would have shown them.
    """
    root = whole.root
    first = root.story.failures[:1] if root else ()
    timed = [view for host in whole.hosts for view in _on_clock_of(root, host)]
    rest = sorted((v for v in timed if v not in first), key=lambda view: view.timestamp_ns)
    stories = [host.story for host in whole.hosts]
    ledgers = [story.ledger for story in stories]
    return ReportView(
        name,
        (*first, *rest),
        tuple(view for story in stories for view in story.stopped),
        Ledger(
            tuple(fate for ledger in ledgers for fate in ledger.workers),
            tuple(remnant for ledger in ledgers for remnant in ledger.swept),
            tuple(stuck for ledger in ledgers for stuck in ledger.stuck),
        ),
        notes=tuple(_notes(whole)),
        lost="" if root else reason,
    )


def hosts_json(whole: Whole) -> list[dict[str, Any]]:
    """The hosts as report.json has them."""
    return [
        {
            "host": host.name,
            "group_rank": host.rank,
            "fate": host.fate,
            "clock_ahead_ns": host.ahead_ns,
            "clock_doubt_ns": host.doubt_ns,
            "ranks": sorted(fate.rank for fate in host.story.ledger.workers),
            "message": host.text,
            "complete": host.complete,
        }
        for host in whole.hosts
    ]


def _on_clock_of(root: Host | None, host: Host) -> list[FailureView]:
    """A host's failures, as the clock of the root cause's host would have timed them."""
    if root is None or host is root:
        return list(host.story.failures)
    offset = _between(root, host)
    if offset is None:
        return [view._replace(doubt_ns=None) for view in host.story.failures]
    ahead, doubt = offset
    return [
        view._replace(timestamp_ns=view.timestamp_ns - ahead, doubt_ns=doubt)
        for view in host.story.failures
    ]


def _between(root: Host, host: Host) -> tuple[int, int] | None:
    """By how much the clock of ``host`` is ahead of that of ``root``, and by how much that is wrong."""
    if root.ahead_ns is None or host.ahead_ns is None:
        return None
    doubt = (root.doubt_ns or 0) + (host.doubt_ns or 0)
    return host.ahead_ns - root.ahead_ns, doubt


# ---- in words


def _notes(whole: Whole) -> Iterator[str]:
    hosts = len(whole.hosts)
    if hosts > 1:
        ends = {fate: [h.name for h in whole.hosts if h.fate == fate] for fate in _ENDS}
        told = [f"{word} {_names(ends[fate])}" for fate, word in _ENDS.items() if ends[fate]]
        yield f"{hosts} hosts: {'; '.join(told)}"
    if whole.root is not None:
        yield from _clocks(whole.root, whole.hosts)
        yield from _decision(whole, whole.root)
    cut = [host.name for host in whole.hosts if not host.complete]
    if cut:
        yield f"{_names(cut)} had more to tell than fits: see report.json there"


_ENDS = {
    "failed": "failed on",
    "failing": "failed on",
    "lost": "lost",
    "left": "ended by a signal on",
    "stopped": "stopped on",
    "succeeded": "succeeded on",
}


def _clocks(root: Host, hosts: Sequence[Host]) -> Iterator[str]:
    """How the clocks of hosts with failures differ."""
    for host in hosts:
        if host is root or not host.story.failures:
            continue
        offset = _between(root, host)
        if offset is None:
            yield f"the clocks of {host.name} and {root.name} could not be compared"
            continue
        ahead, doubt = offset
        way = "ahead of" if ahead > 0 else "behind"
        about = span(doubt / 1e9)
        if abs(ahead) <= doubt:
            yield f"the clocks of {host.name} and {root.name} agree within {about}"
        else:
            seconds = f"{abs(ahead) / 1e9:.3f} s"
            yield f"the clock of {host.name} is {seconds} {way} that of {root.name} (± {about})"


def _decision(whole: Whole, root: Host) -> Iterator[str]:
    """Why this host's failure is taken for the cause, where clocks do not say it."""
    if not whole.rivals or not root.story.failures:
        return
    failure = root.story.failures[0]
    if whole.by == "evidence":
        why = {KILLED: "a signal ended it", OWN_ERROR: "it failed by an error of its own"}
        because = f"{why.get(weight(failure), 'of its error')}, and the others may come of that"
    elif any(_between(root, host) is None for host in whole.rivals):
        because = "the others were told of it first"
    else:
        because = "its time is the first"
    names = _names([host.name for host in whole.rivals])
    who = ranks_text([failure.rank])
    yield (
        f"which was first, {who} on {root.name} or the failure on {names}, cannot be told by their "
        f"clocks: {who} is taken for the root cause because {because}"
    )


def _names(names: Sequence[str]) -> str:
    if len(names) > 4:
        return f"{names[0]}, {names[1]} … {names[-1]} ({len(names)} hosts)"
    return ", ".join(names)
