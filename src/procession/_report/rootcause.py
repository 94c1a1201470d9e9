"""Which deaths are causes, which are consequences of our own signals, and which cause came first.

Pure: deaths in, verdict out. The reasons are in docs/why/root-cause.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

CLOSING_NS = 2_000_000_000
"""For so long a process that is killed may close its files; a GPU's driver takes a second."""


class Death(NamedTuple):
    """A worker's end as the launcher knows it.

    Attributes:
        local_rank: The worker's rank on this host.
        pid: Its process id.
        exitcode: As in `subprocess`: an exit status, or -n when signal n ended it.
        core_dumped: The kernel wrote a core file.
        died_ns: CLOCK_MONOTONIC ns at which the guardian saw the worker's pidfd become ready.
        raised_ns: CLOCK_MONOTONIC ns at which, by its own word of this attempt, the worker raised or
            left with a status.
        doomed: Seen with PF_EXITING before the first signal of ours.
        missed_ns: CLOCK_MONOTONIC ns at which a peer missed it already; None if none did before its death.
    """

    local_rank: int
    pid: int
    exitcode: int
    core_dumped: bool
    died_ns: int
    raised_ns: int | None
    doomed: bool
    missed_ns: int | None = None


class Verdict(NamedTuple):
    """The deaths of a gang, judged.

    Attributes:
        failures: The self-inflicted ones in order of time; the first is the root cause.
        stopped: Those that our signals ended, in the order given; never causes.
    """

    failures: tuple[Death, ...]
    stopped: tuple[Death, ...]


def judge(deaths: Iterable[Death], first_signal_ns: int | None) -> Verdict:
    """Tell causes from consequences.

    Args:
        deaths: In the order in which they were seen, which breaks ties of time.
        first_signal_ns: CLOCK_MONOTONIC ns taken before the first signal of ours was sent, None if
            none was.

    Returns:
        The verdict. Deaths with exit code 0 are in neither part.
    """
    own: list[Death] = []
    stopped: list[Death] = []
    for death in deaths:
        if death.exitcode != 0:
            (own if _self_inflicted(death, first_signal_ns) else stopped).append(death)
    return Verdict(tuple(sorted(own, key=failure_time_ns)), tuple(stopped))


def causes_first(failures: tuple[Death, ...], missing: Collection[int]) -> tuple[Death, ...]:
    """Put who was killed before those that missed it.

    The kernel closes a process's files before it tells of its death (exit_files and exit_notify of
    do_exit, kernel/exit.c), and a driver may take its time over that. So a peer whose connection broke
    may have raised before.

    Args:
        failures: In order of time.
        missing: Local ranks of those of them that only tell that a peer was lost.
    """
    first = failures[0] if failures else None
    if first is None or first.local_rank not in missing:
        return failures
    until = failure_time_ns(first) + CLOSING_NS
    for death in failures:
        killed = death.exitcode < 0 and death.raised_ns is None
        if killed and death.local_rank not in missing and failure_time_ns(death) <= until:
            gone = death._replace(missed_ns=failure_time_ns(first))
            return (gone, *(other for other in failures if other is not death))
    return failures


def failure_time_ns(death: Death) -> int:
    """The CLOCK_MONOTONIC ns at which a worker failed.

    A worker that raised first may die last, held by atexit functions or a collective's teardown. Its
    own stamp is believed only where it can be true: nobody raises after his death.
    """
    if death.missed_ns is not None:
        return death.missed_ns
    if death.raised_ns is not None and 0 < death.raised_ns <= death.died_ns:
        return death.raised_ns
    return death.died_ns


def _self_inflicted(death: Death, first_signal_ns: int | None) -> bool:
    """True unless our signals may have caused the death.

    A stamp is never earlier than its death, and a worker that had raised before our signal puts that
    on record although the signal has come.
    """
    return first_signal_ns is None or death.doomed or failure_time_ns(death) <= first_signal_ns
