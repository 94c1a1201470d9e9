"""Whether a process gets on: what it has had of the processors, and whether it wants any."""

from __future__ import annotations

import os
from typing import NamedTuple

from procession._os.proc import read

_SECOND = 10**9


class Vitals(NamedTuple):
    """What /proc tells of a process at one look; of its first thread, where it has several.

    Attributes:
        state: Of proc_pid_stat(5).
        used: Processor time since its birth, ns.
        turns: How often it was given a processor; 0 where the kernel does not count that.
    """

    state: str
    used: int
    turns: int

    @property
    def stopped(self) -> bool:
        """By a signal, or by a debugger."""
        return self.state in "Tt"

    @property
    def runnable(self) -> bool:
        """It has a processor, or waits for one."""
        return self.state == "R"


def vitals(pid: int) -> Vitals | None:
    """Return those of ``pid``; None if there is no such process (or no /proc)."""
    line = read(f"/proc/{pid}/stat")
    return parse_vitals(line, read(f"/proc/{pid}/schedstat") or b"") if line else None


def is_runnable(pid: int) -> bool:
    """True if ``pid`` has a processor or waits for one: it gets on as fast as the host lets it."""
    facts = vitals(pid)
    return facts is not None and facts.runnable


def parse_vitals(stat: bytes, schedstat: bytes) -> Vitals:
    """Make them of two files of /proc; the second is empty where the kernel keeps none. Pure.

    Documentation/scheduler/sched-stats.rst: time on a processor, time of waiting for one (which is counted
    when the wait is over), number of turns.
    """
    fields = stat.rpartition(b")")[2].split()
    state = fields[0].decode()
    if schedstat.split():
        used, _, turns = map(int, schedstat.split())
        return Vitals(state, used, turns)
    ticks = int(fields[11]) + int(fields[12])  # utime and stime, fields 14 and 15
    return Vitals(state, ticks * _SECOND // os.sysconf("SC_CLK_TCK"), 0)
