"""Log files shown as they grow: each line once, whole, behind one prefix."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from procession._logs import tail
from procession._logs.look import short
from procession._logs.sinks import columns_of
from procession._logs.view import View

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from threading import Event

    from procession._logs.look import Look

__all__ = ["TailLog", "tail_logfile"]


def _every_line(_: str) -> bool:
    return True


def tail_logfile(
    header: str,
    file: str,
    dst: TextIO,
    finished: Event,
    interval_sec: float,
    log_line_filter: Callable[[str], bool] | None = None,
) -> None:
    """Show one file until ``finished`` is set and its end has been reached.

    Args:
        header: What stands before each line.
        file: The path; the file may come later.
        dst: A text stream, or the path of a file to append to.
        finished: Set by another thread once nothing more is written.
        interval_sec: Seconds between two looks at a file that cannot be watched.
        log_line_filter: True for the lines to show; None shows all.

    Raises:
        OSError: ``dst`` is a path that cannot be opened.
    """
    view = View([(file, header)], dst, interval=interval_sec, keep=log_line_filter)
    tail.show(view)
    try:
        finished.wait()
    finally:
        tail.finish(view)
        tail.see_off()


class TailLog:
    r"""Shows log files, from their beginning, while others write to them.

    The files need not exist yet. Lines come out whole, those of one file in their order, each
    behind ``[{name}{idx}]:``. All files of all ``TailLog`` of a process share one thread.

    Example::

        log_files = {0: "/tmp/0_stdout.log", 1: "/tmp/1_stdout.log"}
        tailer = TailLog("trainer", log_files, sys.stdout).start()
        run_trainers()  # they write to these files
        tailer.stop()

    Args:
        name: Name of the prefix.
        log_files: Path of each file, by local rank.
        dst: ``sys.stdout``, ``sys.stderr``, any other text stream, or the path of a file to append
            to. None shows nothing.
        log_line_prefixes: Prefixes that replace the usual one, by local rank.
        interval_sec: Seconds between two looks at files that cannot be watched (no inotify).
        log_line_filter: True for the lines to show. It gets the line with its ``\n``, without the
            prefix, and runs on the thread that all share: it should be quick.

    What becomes of a file: one that is not there yet is waited for; a directory, a device or one that cannot
    be read is named in a warning, once, and waited for; a truncated file is shown again from its beginning;
    a replaced one to its end, and then the other; a deleted one for as long as it grows. `stop` shows what
    is there at that moment of a file that grows for ever.

    On a terminal a line that is drawn again and again (``\\r``) is shown as one, below the others; colours
    end with their line, and what would move the cursor is left out. The files have all of it.
    """

    def __init__(
        self,
        name: str,
        log_files: dict[int, str],
        dst: TextIO | str | os.PathLike[str] | None,
        log_line_prefixes: dict[int, str] | None = None,
        interval_sec: float = 0.1,
        log_line_filter: Callable[[str], bool] = _every_line,
    ) -> None:
        self._name = name
        self._log_files = log_files
        self._prefixes = log_line_prefixes or {}
        self._dst = dst
        self._look: Look | None = None
        self._stays = False
        self._copies: list[tuple[TextIO, Callable[[str], bool]]] = []
        self._interval_sec = interval_sec
        self._keep = None if log_line_filter is _every_line else log_line_filter
        self._view: View | None = None
        self._stopped = False
        self._skipped: dict[str, int] = {}

    def start(self) -> TailLog:
        """Begin to show the files, and return at once.

        Raises:
            OSError: ``dst`` is a path that cannot be opened.
            RuntimeError: It has been stopped before, and has files to show.
        """
        if not self._log_files or self._dst is None:
            return self
        if self._stopped:
            raise RuntimeError("a TailLog that has been stopped cannot be started: make a new one")
        if self._view is None:
            self._view = self._make_view(self._dst)
            tail.show(self._view)
        return self

    def looking(self, look: Look) -> TailLog:
        """Show the lines as a person at a console wishes; to be called before `start`."""
        self._look = look
        return self

    def staying(self) -> TailLog:
        """Stay with the files that come first, whatever comes under their names later: who writes holds them."""
        self._stays = True
        return self

    def also_into(self, dst: TextIO, log_line_filter: Callable[[str], bool]) -> TailLog:
        """Show the lines that the filter lets through in one more place, out of the same reads.

        Args:
            dst: As for the constructor.
            log_line_filter: As for the constructor.
        """
        self._copies.append((dst, log_line_filter))
        return self

    def _make_view(self, dst: TextIO | str | os.PathLike[str]) -> View:
        heads = self._heads(0 if self._look is None else columns_of(dst))
        view = View(
            zip(self._log_files.values(), heads, strict=True),
            dst,
            interval=self._interval_sec,
            keep=self._keep,
            look=self._look,
            ranks=list(self._log_files),
            stays=self._stays,
        )
        for copy, keep in self._copies:
            view.show_in(copy, keep, self._heads(0))
        return view

    def _heads(self, columns: int) -> list[str]:
        return [
            self._prefixes.get(rank, short(self._name, rank, columns)) for rank in self._log_files
        ]

    def stop(self) -> None:
        """Show all that the files hold now, also a last line without its end, and then no more.

        Where ``dst`` takes no byte for 5 s, the rest is skipped and a warning says how much.
        """
        self.end()
        tail.see_off()

    def begin_end(self) -> None:
        """Begin to `stop`, and do not wait: nothing will be written any more."""
        if self._view is not None:
            tail.bring_to_end(self._view)

    def end(self, hurried: Callable[[], bool] = lambda: False) -> None:
        """As `stop`, but leave the thread that all share, if it has nothing more to show, to end by itself.

        Args:
            hurried: Asked now and then; True has a console's rest skipped.
        """
        if self._view is not None:
            self._skipped |= tail.finish(self._view, hurried)
        self._stopped = True

    def stopped(self) -> bool:
        """Return True once `stop` has returned."""
        return self._stopped

    @property
    def skipped(self) -> dict[str, int]:
        """For each file that `stop` could not show to its end, the number of bytes not shown."""
        return dict(self._skipped)
