"""What a report is made from: plain data, the same for the text and for report.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from procession._report.ledger import Ledger

if TYPE_CHECKING:
    from procession._os.memory import Oom, Space


class FailureView(NamedTuple):
    """One worker's end.

    Attributes:
        rank: Its global rank.
        local_rank: Its rank on its host.
        pid: Its process id.
        exitcode: As in `subprocess`.
        timestamp_ns: Wall-clock ns of the failure.
        time: The same, to be shown.
        host: The host it ran on.
        core_dumped: The kernel wrote a core file.
        duration: Seconds it ran, None where it is not known.
        message: What the worker wrote about its failure, without the traceback; "" if nothing.
        exception_type: The name of the exception's class.
        traceback: The traceback's text.
        last_lines: The last lines on its stderr.
        error_file: Path of its error.json, "" if it wrote none.
        problem: What is wrong with that file, to be read after "error.json is".
        stdout: Path of its captured stdout, "" where it was not captured.
        stderr: Path of its captured stderr, "" where it was not captured.
        oom: What the kernel counted of OOM kills, None where that is not known.
        shared_memory: The space of /dev/shm after a death by SIGBUS.
        core: Where its core dump is.
        hastened_by: The signal of ours that ended it on its way out, "" if none did.
        doubt_ns: By how much the time from the root cause to it may be wrong: 0 on one host, None
            where the clocks of two were not compared.
    """

    rank: int
    local_rank: int
    pid: int
    exitcode: int
    timestamp_ns: int
    time: str
    host: str = ""
    core_dumped: bool = False
    duration: float | None = None
    message: str = ""
    exception_type: str | None = None
    traceback: str | None = None
    last_lines: tuple[str, ...] = ()
    error_file: str = ""
    problem: str | None = None
    stdout: str = ""
    stderr: str = ""
    oom: Oom | None = None
    shared_memory: Space | None = None
    core: str = ""
    hastened_by: str = ""
    doubt_ns: int | None = 0


class ReportView(NamedTuple):
    """The end of a gang.

    Attributes:
        name: What was run.
        failures: The self-inflicted ends in order of time; the first is the root cause.
        stopped: The workers that procession ended because of it.
        ledger: How each worker ended and what was left, as far as it is known.
        earlier: What ended each of the attempts before this one, in a few words.
        notes: What is to be said of several hosts.
        lost: The root cause in words, where it is no worker's failure but the loss of a host.
    """

    name: str
    failures: tuple[FailureView, ...] = ()
    stopped: tuple[FailureView, ...] = ()
    ledger: Ledger = Ledger()
    earlier: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    lost: str = ""
