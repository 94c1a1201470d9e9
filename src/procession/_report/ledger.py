"""The death ledger: how each worker ended and by whom, what it left, what would not die. Pure."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, NamedTuple

from procession._report.words import signal_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What the kernel raises in a process for what the process itself has done, or abort(3) does.
_FAULTS = frozenset(
    -getattr(signal, f"SIG{name}")
    for name in (
        *("ABRT", "ALRM", "BUS", "FPE", "ILL", "PIPE", "PROF"),
        *("SEGV", "SYS", "TRAP", "VTALRM", "XCPU", "XFSZ"),
    )
)
_KILL = int(signal.SIGKILL)

ITSELF, OUTSIDE, OOM_KILLER = "itself", "outside", "oom killer"
PROCESSION, NOBODY = "procession", "nobody"


class Life(NamedTuple):
    """What the launcher knows of one worker from start to end; times are CLOCK_MONOTONIC ns.

    Attributes:
        rank: Its local rank.
        pid: Its process id.
        exitcode: As in `subprocess`; None if it could not be ended.
        core_dumped: The kernel wrote a core file.
        started_ns: Its start.
        died_ns: Its death.
        signalled_ns: Our first signal to it, 0 if it got none.
        own: Its end was its own, as `rootcause.judge` says.
        oom_killed: The kernel counted an OOM kill that is this death.
    """

    rank: int
    pid: int
    exitcode: int | None
    core_dumped: bool
    started_ns: int
    died_ns: int
    signalled_ns: int
    own: bool
    oom_killed: bool


class Fate(NamedTuple):
    """How one worker ended.

    Attributes:
        rank: Its rank.
        pid: Its process id.
        exitcode: As in `subprocess`; None if it could not be ended.
        core_dumped: The kernel wrote a core file.
        ended_by: ``itself`` (it left, or raised, or did what the kernel kills for), ``outside`` (a
            signal that was not ours), ``oom killer``, ``procession`` (also where it left with a status
            of its own once it had been told to), ``nobody`` (it could not be ended).
        told: The last signal of ours that came before its end, None if none did.
        lived: Seconds from its start to its end; None if that is not known.
        after: Seconds from our first signal to its end; None if that is not known.
        died_ns: CLOCK_MONOTONIC ns of its end, as the guardian saw it; 0 if that is not known.
    """

    rank: int
    pid: int
    exitcode: int | None
    core_dumped: bool = False
    ended_by: str = ITSELF
    told: str | None = None
    lived: float | None = None
    after: float | None = None
    died_ns: int = 0


class Remnant(NamedTuple):
    """A process that a dead worker left, and that was ended.

    Attributes:
        pid: Its process id.
        name: As the kernel has it, at most 15 bytes.
        rank: Of the worker that it came from, by its session or its environment; None if unknown.
        signal: What ended it.
    """

    pid: int
    name: str
    rank: int | None
    signal: str


class Stuck(NamedTuple):
    """A process, a worker or what one left, that SIGKILL did not end.

    Attributes:
        pid: Its process id.
        name: As the kernel has it.
        rank: Of the worker that it is or came from; None if unknown.
        state: As in /proc/<pid>/status, ``D (disk sleep)``.
        wchan: The kernel function that it sleeps in, "" where that is not told.
        stack: Its kernel stack, innermost first, empty where it may not be read.
    """

    pid: int
    name: str
    rank: int | None
    state: str = ""
    wchan: str = ""
    stack: tuple[str, ...] = ()


class Ledger(NamedTuple):
    """How a gang ended.

    Attributes:
        workers: The fate of each, by rank.
        swept: What dead workers left, and what ended it.
        stuck: What could not be ended.
    """

    workers: tuple[Fate, ...] = ()
    swept: tuple[Remnant, ...] = ()
    stuck: tuple[Stuck, ...] = ()


def fates(lives: Iterable[Life], signum: int, killed_ns: int | None) -> tuple[Fate, ...]:
    """Say of each worker how it ended.

    Args:
        lives: The workers.
        signum: What the stop signalled first.
        killed_ns: CLOCK_MONOTONIC ns at which the stop went over to SIGKILL, None if it did not.
    """
    return tuple(_fate(life, signum, killed_ns) for life in sorted(lives))


def _fate(life: Life, signum: int, killed_ns: int | None) -> Fate:
    told = 0 < life.signalled_ns < life.died_ns or life.exitcode is None
    killed = told and killed_ns is not None and (life.exitcode is None or killed_ns < life.died_ns)
    last = _KILL if killed else signum
    return Fate(
        rank=life.rank,
        pid=life.pid,
        exitcode=life.exitcode,
        core_dumped=life.core_dumped,
        ended_by=_ended_by(life, {-signum, -last}),
        told=(signal_name(last) or f"signal {last}") if told else None,
        lived=None if life.exitcode is None else (life.died_ns - life.started_ns) / 1e9,
        after=(life.died_ns - life.signalled_ns) / 1e9
        if told and life.exitcode is not None
        else None,
        died_ns=0 if life.exitcode is None else life.died_ns,
    )


def _ended_by(life: Life, ours: set[int]) -> str:
    """Who ended it; ``ours`` are the exit codes of deaths by the signals that it got of us."""
    if life.exitcode is None:
        return NOBODY
    if life.oom_killed:
        return OOM_KILLER
    if life.exitcode in _FAULTS and life.exitcode not in ours:
        return ITSELF
    told = 0 < life.signalled_ns < life.died_ns
    if told and not life.own and (life.exitcode >= 0 or life.exitcode in ours):
        return PROCESSION
    if life.exitcode >= 0 or (life.own and told and life.exitcode in ours):
        return ITSELF  # the latter had raised, and was on its way out
    return OUTSIDE


def owner(
    session: int, error_file: str, pids: Mapping[int, int], error_files: Mapping[str, int]
) -> int | None:
    """The rank of the worker that a process came from, None if neither of its marks tells.

    Args:
        session: The process's session: a worker leads the one that its pid names.
        error_file: What its environment named as the error file.
        pids: Rank by the worker's pid.
        error_files: Rank by the worker's error file.
    """
    return pids.get(session, error_files.get(error_file))
