"""A worker's failure, with all that is known of it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from procession._report.errorfile import NONE, read_error_file
from procession._report.evidence import Evidence
from procession._report.words import NOT_AVAILABLE, signal_name

__all__ = ["JSON", "ProcessFailure"]

JSON = dict[str, Any]


@dataclass
class ProcessFailure:
    """A failed worker.

    What the worker wrote into its error file is read when the object is made. Whatever that file
    holds, nothing is raised: a file that cannot be used is named, with the reason, in `message`.

    Attributes:
        local_rank: The worker's rank on its host.
        pid: Its process id.
        exitcode: Its exit status, or -n if signal n ended it.
        error_file: Path of its error file, ``<N/A>`` if it wrote none.
        error_file_data: That file's content, ``{"message": "<NONE>"}`` without a usable one.
        message: The file's message: a text, or an object with "message" and "extraInfo" (the
            traceback is its "py_callstack"). Without one, the failure in words.
        timestamp: Wall-clock seconds of the failure.
        timestamp_ns: The same in ns. Given, or from the error file, or the time of reading.
        evidence: What the launcher knows beside the exit code.
        host: Where it ran; this host if not given.
        problem: What is wrong with the error file, to be read after "error.json is"; None if nothing.
        packed_exception: What a function raised, as it came from the worker; see ``exception``.
    """

    local_rank: int
    pid: int
    exitcode: int
    error_file: str
    error_file_data: JSON = field(init=False)
    message: str | JSON = field(init=False)
    timestamp: int = field(init=False)
    timestamp_ns: int | None = None
    evidence: Evidence = Evidence()  # noqa: RUF009 - frozen
    host: str = ""
    problem: str | None = field(init=False)
    packed_exception: bytes = field(default=b"", repr=False, compare=False)

    def __post_init__(self) -> None:
        record = read_error_file(self.error_file)
        self.error_file_data = record.data if record else {"message": NONE}
        self.problem = record.problem if record else None
        self.error_file = self.error_file if record else NOT_AVAILABLE
        self.host = self.host or os.uname().nodename
        if self.timestamp_ns is None:
            self.timestamp_ns = (record and record.timestamp_ns) or time.time_ns()
        self.timestamp = self.timestamp_ns // 10**9
        said = record.message if record and not record.problem else ""
        self.message = said or self._in_words()

    @cached_property
    def exception(self) -> BaseException | None:
        """What the function raised, rebuilt when it is first asked for; None for other failures.

        Its causes, notes, group members and the places of its traceback are the worker's. Where it
        cannot be rebuilt, ``procession.errors.RemoteError`` tells it in words.
        """
        from procession.multiprocessing.errors.remote import unpack

        return unpack(self.packed_exception)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "exception"}

    def signal_name(self) -> str:
        """The name of the signal that ended the worker, ``<N/A>`` if none did or it has no name."""
        name = signal_name(-self.exitcode) if self.exitcode < 0 else None
        return name or NOT_AVAILABLE

    def timestamp_isoformat(self) -> str:
        """The time of the failure on the local clock, ``YYYY-MM-DD_HH:MM:SS``."""
        return time.strftime("%Y-%m-%d_%H:%M:%S", time.localtime(self.timestamp))

    def _in_words(self) -> str:
        problem = f"; {self.error_file} is {self.problem}" if self.problem else ""
        if self.exitcode < 0:
            name = self.signal_name()
            return f"Signal {-self.exitcode} ({name}) received by PID {self.pid}{problem}"
        # torch's mark of a failure that nobody explained; programs look for it.
        self.error_file_data["errorTraits"] = {
            "category": "system_terminated_error",
            "retryability": "False",
        }
        return f"exit code {self.exitcode}{problem}{self._stderr_in_words()}"

    def _stderr_in_words(self) -> str:
        if self.evidence.last_lines:
            return "; last lines of stderr:\n" + "\n".join(self.evidence.last_lines)
        if self.evidence.stderr:
            return ", no traceback and nothing on stderr"
        return ", no traceback; stderr was not captured"
