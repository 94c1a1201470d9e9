"""Which deaths are causes, which are consequences of our own signals, and which cause came first.

Pure: deaths in, verdict out. The reasons are in docs/why/root-cause.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


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
        doomed: Seen with such a word, or PF_EXITING, before the first signal of ours.
    """

    local_rank: int
    pid: int
    exitcode: int
    core_dumped: bool
    died_ns: int
    raised_ns: int | None
    doomed: bool


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
    bad = [death for death in deaths if death.exitcode != 0]
    own = [death for death in bad if _self_inflicted(death, first_signal_ns)]
    stopped = [death for death in bad if not _self_inflicted(death, first_signal_ns)]
    return Verdict(tuple(sorted(own, key=failure_time_ns)), tuple(stopped))


def failure_time_ns(death: Death) -> int:
    """The CLOCK_MONOTONIC ns at which a worker failed.

    A worker that raised first may die last, held by atexit functions or a collective's teardown. Its
    own stamp is believed only where it can be true: nobody raises after his death.
    """
    if death.raised_ns is not None and 0 < death.raised_ns <= death.died_ns:
        return death.raised_ns
    return death.died_ns


def _self_inflicted(death: Death, first_signal_ns: int | None) -> bool:
    """True unless our signals may have caused the death.

    A stamp is never earlier than its death, and a worker that had raised before our signal puts that
    on record although the signal has come.
    """
    return first_signal_ns is None or death.doomed or failure_time_ns(death) <= first_signal_ns
