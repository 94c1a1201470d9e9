"""What a run of a gang came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from procession._report.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from procession.multiprocessing.errors import ProcessFailure

__all__ = ["RunProcsResult"]


@dataclass
class RunProcsResult:
    """Results of a completed run of processes, each field by local rank.

    Attributes:
        return_values: What the functions returned; None a rank for binaries. Empty if a worker died
            badly by itself; without those that were stopped before they had returned.
        failures: The workers that failed by themselves, the root cause first.
        stdouts: Path of each stdout.log, empty where the stream was not captured.
        stderrs: Path of each stderr.log, the same way.
        stopped: The workers that procession ended because of those failures; never a cause. Their last
            lines are read when they are asked for, so ask before the log files are removed.
        ledger: How each worker ended and by whom, what dead workers had left, what could not be ended.
        dropped: Path of a log file and number of bytes that its disk did not take in time, for those
            where there are any; of output that goes through pipes.
    """

    return_values: dict[int, Any] = field(default_factory=dict)
    failures: dict[int, ProcessFailure] = field(default_factory=dict)
    stdouts: dict[int, str] = field(default_factory=dict)
    stderrs: dict[int, str] = field(default_factory=dict)
    stopped: Mapping[int, ProcessFailure] = field(default_factory=dict)
    ledger: Ledger = Ledger()  # noqa: RUF009 - frozen
    dropped: dict[str, int] = field(default_factory=dict)

    def is_failed(self) -> bool:
        """True unless every worker ended well: any failed, was stopped, or could not be ended."""
        immortal = any(fate.exitcode is None for fate in self.ledger.workers)
        return bool(self.failures or self.stopped or immortal)
