"""The places where workers' output goes."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["LogsDest"]


@dataclass
class LogsDest:
    """The paths of a gang's log files, by local rank.

    Attributes:
        stdouts: File that is the worker's stdout; empty where the launcher's own is inherited.
        stderrs: The same of stderr.
        tee_stdouts: File to show on the console while it grows; no entry where nothing is shown.
        tee_stderrs: The same of stderr.
        error_files: File that the worker writes its uncaught exception to.
        filtered_stdout: File of the lines of all teed stdouts that match a duplicate filter.
        filtered_stderr: The same of stderr.
    """

    stdouts: dict[int, str] = field(default_factory=dict)
    stderrs: dict[int, str] = field(default_factory=dict)
    tee_stdouts: dict[int, str] = field(default_factory=dict)
    tee_stderrs: dict[int, str] = field(default_factory=dict)
    error_files: dict[int, str] = field(default_factory=dict)
    filtered_stdout: str = field(default_factory=str)
    filtered_stderr: str = field(default_factory=str)
