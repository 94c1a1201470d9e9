"""The ledger in lines for a person: who shares a fate shares a line. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procession._report.ledger import ITSELF, NOBODY, OOM_KILLER, PROCESSION
from procession._report.words import exit_name, ranks_text, span

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from procession._report.ledger import Fate, Ledger, Remnant, Stuck

_MOST_KINDS, _MOST_PIDS = 8, 8
"""Kinds of leftovers that are named, and processes of a kind; the rest is counted."""


def fate_lines(workers: Iterable[Fate]) -> list[str]:
    """One line for each kind of end, the most frequent first; workers that left well go unsaid."""
    kinds: dict[tuple[object, ...], list[Fate]] = {}
    for fate in workers:
        if fate.exitcode != 0 or fate.told:
            kinds.setdefault((fate.ended_by, fate.exitcode, fate.told), []).append(fate)
    by_count = sorted(kinds.values(), key=lambda alike: -len(alike))
    return [f"{ranks_text(fate.rank for fate in alike)} {_end(alike)}" for alike in by_count]


def hard_lines(workers: Iterable[Fate]) -> list[str]:
    """The lines of those alone that did not leave when they were told to."""
    heeded = {PROCESSION, ITSELF}
    return fate_lines(
        fate for fate in workers if fate.ended_by not in heeded or fate.told == "SIGKILL"
    )


def _end(alike: Sequence[Fate]) -> str:
    fate = alike[0]
    if fate.ended_by == NOBODY:
        return "could not be ended, by SIGKILL neither"
    how = exit_name(fate.exitcode or 0)
    if fate.ended_by == PROCESSION:
        return f"stopped by procession ({how}){_after(alike, plain=how == fate.told)}"
    verb = "left" if (fate.exitcode or 0) >= 0 else "died"
    by = {ITSELF: "", OOM_KILLER: " of the OOM killer"}.get(
        fate.ended_by, " not sent by procession"
    )
    return f"{verb} ({how}{by}){_after(alike, plain=False)}"


def _after(alike: Sequence[Fate], *, plain: bool) -> str:
    """How long after our signal; which one, where that is not the one that ended them."""
    times = [fate.after for fate in alike if fate.after is not None]
    if not times:
        return ""
    longest, several = span(max(times)), len(alike) > 1
    if plain and alike[0].told != "SIGKILL":
        return f", {'within' if several else 'after'} {longest}"
    return f", {f'within {longest} of' if several else f'{longest} after'} our first signal"


def remains_lines(ledger: Ledger) -> list[str]:
    """What was swept, and what could not be ended; nothing where there was neither."""
    return [*_swept(ledger.swept), *(_stuck(stuck) for stuck in ledger.stuck)]


def _swept(swept: Sequence[Remnant]) -> list[str]:
    if not swept:
        return []
    kinds: dict[tuple[str, str], list[Remnant]] = {}
    for remnant in swept:
        kinds.setdefault((remnant.name, remnant.signal), []).append(remnant)
    told = list(kinds.values())[:_MOST_KINDS]
    more = len(swept) - sum(map(len, told))
    count = f"{len(swept)} process{'es' * (len(swept) > 1)}"
    parts = [*map(_kind, told), *([f"and {more} more"] if more else [])]
    return [f"{count} left behind and ended: {', '.join(parts)}"]


def _kind(alike: Sequence[Remnant]) -> str:
    """``sleep of ranks 0-1 (SIGTERM, pids 71-72)``; of many the number stands in place of the pids."""
    name, signal = alike[0].name, alike[0].signal
    ranks = [remnant.rank for remnant in alike if remnant.rank is not None]
    of = f" of {ranks_text(ranks)}" if ranks else ""
    if len(alike) > _MOST_PIDS:
        return f"{len(alike)} {name}{of} ({signal})"
    pids = ranks_text(remnant.pid for remnant in alike).partition(" ")[2]
    return f"{name}{of} ({signal}, pid{'s' * (len(alike) > 1)} {pids})"


def _stuck(stuck: Stuck) -> str:
    of = "" if stuck.rank is None else f", of rank {stuck.rank}"
    where = f" in {stuck.wchan}" if stuck.wchan else ""
    state = f": state {stuck.state or 'unknown'}{where}"
    return f"pid {stuck.pid} ({stuck.name}{of}) could not be ended{state}"
