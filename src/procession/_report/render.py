"""The report of a failed gang, for a person. Pure: a view in, text out.

Whoever follows a log sees its end, so the root cause stands last, and its error is its last line.
What several ranks have in common is said once.
"""

from __future__ import annotations

import os.path
import textwrap
from typing import TYPE_CHECKING, NamedTuple

from procession._report.account import fate_lines, remains_lines
from procession._report.clean import clean_line, clean_lines, clip
from procession._report.evidence import FATAL
from procession._report.fold import fold
from procession._report.ledger import PROCESSION, Fate
from procession._report.words import exit_meaning, exit_name, ranks_text, size, span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from procession._os.memory import Oom
    from procession._report.fold import Group
    from procession._report.view import FailureView, ReportView

Lines = list["str | Flow"]

WIDTH = 79
"""Columns of what procession itself writes; tracebacks and paths stay as they are, to be copied."""

MOST_GROUPS = 5
"""Different errors shown beside the root cause; the rest is named."""


class Flow(NamedTuple):
    """A text that is wrapped to the width: ``label`` before it, and its width before what follows."""

    text: str
    label: str = ""


def render_report(
    report: ReportView, boarder: str = "=", section: str = "-", width: int = WIDTH
) -> str:
    """The text of a report.

    Args:
        report: What happened; at least one failure, or the loss of a host.
        boarder: What the first and the last line are made of.
        section: What the lines between the parts are made of.
        width: Columns, of what procession itself writes.

    Returns:
        Lines without a newline at the end, without escape sequences.
    """
    groups = fold(report.failures)
    parts: list[Lines] = [
        _head(report),
        [Flow(note) for note in report.notes],
        _ends(report),
        _others(groups, None if report.lost else groups[0].first),
        _cause(report, groups),
    ]
    border, line = (boarder * width)[:width], (section * width)[:width]
    shown = ["\n".join(_laid_out(part, width)) for part in parts if part]
    return "\n".join([border, f"\n{line}\n".join(shown), border])


# --- the parts ---


def _head(report: ReportView) -> Lines:
    lines: Lines = [f"{clean_line(report.name)} FAILED"]
    if report.earlier:
        told = clip(report.earlier, 2, 2, "attempts")
        lines.append(Flow(f"at attempt {len(report.earlier) + 1}; before it: {', '.join(told)}"))
    return lines


def _ends(report: ReportView) -> Lines:
    """How the others ended, what was left behind, and what could not be ended."""
    told = {view.rank for view in report.failures}
    known = {fate.rank: fate for fate in report.ledger.workers}
    bare = {
        view.rank: Fate(view.rank, view.pid, view.exitcode, ended_by=PROCESSION)
        for view in report.stopped
    }
    others = [fate for rank, fate in {**bare, **known}.items() if rank not in told]
    lines = [*fate_lines(others), *remains_lines(report.ledger)]
    return [Flow(line) for line in lines]


def _others(groups: Sequence[Group], root: FailureView | None) -> Lines:
    """All failures but the root cause, where that is one."""
    others = groups[1:] if root else groups
    shown, more = others[:MOST_GROUPS], others[MOST_GROUPS:]
    like_root = _like_root(groups[0], root) if root else []
    lines = [*like_root, *(line for group in shown for line in _other(group, root))]
    if more:
        ranks = ranks_text(view.rank for group in more for view in group.members)
        lines.append(Flow(f"and {ranks} with other errors"))
    return ["Other failures:", *lines] if lines else []


def _cause(report: ReportView, groups: Sequence[Group]) -> Lines:
    if report.lost:
        return ["Root cause:", Flow(report.lost, "  ")]
    return ["Root cause (first failure):", *_root(groups[0].first)]


def _like_root(group: Group, root: FailureView) -> Lines:
    """The ranks that failed as the root cause did, in one line."""
    rest = group.members[1:]
    if not rest:
        return []
    numbers = "" if group.identical else " but for numbers"
    return [Flow(f"{_who(rest, root.host)}, {_after(rest[0], root)}: the same error{numbers}")]


def _other(group: Group, root: FailureView | None) -> Lines:
    first, here = group.first, root.host if root else ""
    when = f", {_after(first, root)}" if root else ""
    alike = "" if group.identical else ", alike but for numbers"
    return [
        Flow(f"{_who(group.members, here)}{_problem(first)}{when}{alike}:"),
        *_field("exitcode", f"{first.exitcode} {_exit_words(first)}"),
        *_traces(first),
        *_error(first, head=2, tail=10),
    ]


def _root(root: FailureView) -> Lines:
    ran = "" if root.duration is None else f", {span(root.duration)} after its start"
    return [
        *_field("time", root.time + ran),
        *_field("host", root.host),
        *_field("rank", f"{root.rank} (local_rank: {root.local_rank}){_problem(root)}"),
        *_field("exitcode", f"{root.exitcode} (pid: {root.pid}) {_exit_words(root)}"),
        *_traces(root),
        *_field("error_file", root.error_file),
        *_field("stdout", root.stdout),
        *_error(root, head=20, tail=100),
    ]


# --- one failure ---


def _error(failure: FailureView, head: int, tail: int) -> Lines:
    """The error itself and the log it stands in."""
    if failure.traceback:
        stderr = _field("stderr", failure.stderr)
        return [*stderr, *_block("traceback", clean_lines(failure.traceback), head, tail)]
    message = _block("message", clean_lines(failure.message), head, tail)
    last = clean_lines("\n".join(failure.last_lines))
    if last:
        faulted = any(line.startswith(FATAL) for line in last)
        where = "says where it was:" if faulted else "ends with:"
        ends = _field("stderr", f"{failure.stderr} {where}".lstrip())
        return [*ends, *_indented(clip(last, head, tail)), *message]
    nothing = "none, and nothing on stderr" if failure.stderr else "none; stderr was not captured"
    return [*_field("stderr", failure.stderr), *(message or _field("traceback", nothing))]


def _traces(failure: FailureView) -> Lines:
    """What the host knows of it."""
    oom, space = failure.oom, failure.shared_memory
    counted = f"{oom.file}: oom_kill {_counted(oom)}" if oom and oom.moved else ""
    free = f"{size(space.free)} of {size(space.size)} free after its end" if space else ""
    return [
        *_field("memory", counted),
        *_field("/dev/shm", free),
        *_field("core", failure.core),
    ]


def _counted(oom: Oom) -> str:
    return f"{oom.now}" if oom.before is None else f"{oom.before}, then {oom.now}"


def _who(members: Sequence[FailureView], here: str) -> str:
    more = f" ({len(members)}x)" if len(members) > 1 else f" (pid: {members[0].pid})"
    hosts = list(dict.fromkeys(view.host for view in members))
    there = "" if hosts == [here] else f" on {', '.join(clip(hosts, 2, 1, 'hosts'))}"
    return ranks_text(view.rank for view in members) + there + more


def _after(failure: FailureView, root: FailureView) -> str:
    if failure.doubt_ns is None:
        return "at a time that cannot be compared"
    ns, doubt = failure.timestamp_ns - root.timestamp_ns, failure.doubt_ns
    about = f" (± {span(doubt / 1e9)})" if doubt else ""
    if ns == 0:
        return f"at the root cause's time{about}"
    return f"{span(abs(ns) / 1e9)} {'after' if ns > 0 else 'before'} the root cause{about}"


def _exit_words(failure: FailureView) -> str:
    """``SIGKILL: killed; perhaps ..., core dumped``; "" where a number says it all."""
    name = exit_name(failure.exitcode) if failure.exitcode < 0 else ""
    # A worker that had raised and was still exiting when its peers were stopped dies of our signal.
    raised = name in {"SIGTERM", "SIGKILL"} and failure.traceback is not None
    meaning = "after it had raised" if raised else exit_meaning(failure.exitcode, failure.oom)
    hastened = f"cut short by procession's {failure.hastened_by}" if failure.hastened_by else ""
    core = "core dumped" if failure.core_dumped else ""
    words = ": ".join(filter(None, [name, meaning]))
    return ", ".join(filter(None, [words, hastened, core]))


def _problem(failure: FailureView) -> str:
    if not failure.problem:
        return ""
    return f", its {os.path.basename(failure.error_file) or 'error file'} is {failure.problem}"


# --- lines ---


def _block(label: str, lines: Sequence[str], head: int, tail: int) -> Lines:
    """A field of several lines, which are left as they are."""
    return [f"  {label:<10}:", *_indented(clip(lines, head, tail))] if lines else []


def _indented(lines: Sequence[str]) -> Lines:
    return [f"    {line}".rstrip() for line in lines]


def _field(label: str, value: str) -> Lines:
    """``  label     : value``, continued below the value; nothing for an empty value."""
    return [Flow(value, f"  {label:<10}: ")] if value else []


def _laid_out(lines: Lines, width: int) -> list[str]:
    return [
        line
        for each in lines
        for line in ([each] if isinstance(each, str) else _wrapped(each, width))
    ]


def _wrapped(flow: Flow, width: int) -> list[str]:
    return textwrap.wrap(
        clean_line(flow.text),
        max(width, len(flow.label) + 10),
        initial_indent=flow.label,
        subsequent_indent=" " * (len(flow.label) or 2),
        break_long_words=False,
        break_on_hyphens=False,
    )
