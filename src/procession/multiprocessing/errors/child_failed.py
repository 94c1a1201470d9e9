"""The exception that tells a caller that workers failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procession._report.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from procession._report.view import ReportView
    from procession.multiprocessing.errors.failure import ProcessFailure

__all__ = ["ChildFailedError", "hand_on"]


class ChildFailedError(Exception):
    """Workers failed; the text is the whole report.

    A launcher whose main function is under `record` hands the first failure's error file on to
    whoever launched it, as if the launcher itself had failed so.

    Its ``__cause__`` is the first failure's own exception, where a function raised it.

    Attributes:
        name: What was run.
        failures: By global rank, the workers that failed by themselves.
        stopped: By global rank, the workers that were ended because of that.
        ledger: How each worker ended and by whom, what dead workers had left, what could not be ended.
        earlier: What ended each of the attempts before, in a few words.
        notes: What is to be said of other hosts.
    """

    def __init__(
        self,
        name: str,
        failures: dict[int, ProcessFailure],
        stopped: Mapping[int, ProcessFailure] | None = None,
        ledger: Ledger = Ledger(),  # noqa: B008 - a tuple
        notes: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.failures = failures
        self.stopped = stopped or {}
        self.ledger = ledger
        self.earlier: tuple[str, ...] = ()
        self.notes = notes
        if not failures:
            raise AssertionError("a ChildFailedError is of at least one failure")
        super().__init__(self.format_msg())
        self.__cause__ = self.get_first_failure()[1].exception

    def __reduce__(self) -> tuple[object, ...]:
        own = (self.name, self.failures, self.stopped, self.ledger, self.notes)
        return type(self), own, self.__dict__

    def get_first_failure(self) -> tuple[int, ProcessFailure]:
        """The root cause: the global rank and failure that is the earliest, of equals the first given."""
        rank = min(self.failures, key=lambda rank: self.failures[rank].timestamp_ns or 0)
        return rank, self.failures[rank]

    def format_msg(self, boarder_delim: str = "=", section_delim: str = "-") -> str:
        """The report, after a line break that keeps it clear of the exception's name.

        Args:
            boarder_delim: What the first and the last line are made of.
            section_delim: What the lines between its parts are made of.
        """
        from procession._report.render import render_report

        return "\n" + render_report(self.report(), boarder_delim, section_delim)

    def report(self) -> ReportView:
        """The report as plain data."""
        from procession.multiprocessing.errors.viewing import view_of

        return view_of(self)


def hand_on(error: ChildFailedError) -> None:
    """Make the first failure's error file that of this process, as `record` does."""
    from procession.multiprocessing.errors.handlers import get_error_handler
    from procession.multiprocessing.errors.recording import leave_word

    leave_word(get_error_handler(), error)
