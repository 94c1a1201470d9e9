"""What of the workers' output is shown while it grows: on the console, and in the filtered files."""

from __future__ import annotations

import math
import os
import sys
import time
from typing import TYPE_CHECKING, TextIO

from procession._loop.machine import ECHO

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence
    from contextlib import ExitStack

    from procession._logs.look import Look
    from procession.multiprocessing.logs_dest import LogsDest
    from procession.multiprocessing.tail_log import TailLog

__all__ = ["Views"]


class Views:
    """The views of a gang's log files; nothing of them is imported before they are shown.

    Args:
        name: What the processes are; heads each line.
        places: Where the files are, and which of them are teed.
        prefixes: The head of each line by local rank, in place of ``[{name}{rank}]:``.
        filters: Words for stdout and stderr: teed lines with any of these are copied to the filtered
            file of that stream, whosever they are.
        look: How lines look; None as torch shows them.
        envs: The environment of each local rank, which names its global one.

    Attributes:
        filtered_stdout: The filtered file of stdout while it is written; None without filters.
        filtered_stderr: The same of stderr.
    """

    def __init__(
        self,
        name: str,
        places: LogsDest,
        prefixes: dict[int, str] | None,
        filters: tuple[Sequence[str] | None, Sequence[str] | None],
        look: Look | None,
        envs: Mapping[int, Mapping[str, str]],
    ) -> None:
        self._name = name
        self._places = places
        self._prefixes = prefixes
        self._filters = filters
        self._look = look
        self._envs = envs
        self.filtered_stdout: TextIO | None = None
        self.filtered_stderr: TextIO | None = None
        self._tail_logs: list[TailLog] = []
        self._ending = math.inf  # monotonic seconds

    def get_ready(self) -> None:
        """Import what shows them, if anything is shown."""
        if self._shown(self._places.tee_stdouts) or self._shown(self._places.tee_stderrs):
            import procession.multiprocessing.tail_log  # noqa: F401

    def show(self, held: ExitStack, signalled: Callable[[], bool]) -> None:
        """Begin to show; ``held`` shows the rest and ends it.

        Args:
            held: Shows the rest, which takes as long as a slow console does.
            signalled: Asked then: True has what the console has not taken by now skipped, unless the rest
                has just been begun, and the signal may be an echo of the one that has ended the gang.

        Raises:
            OSError: A filtered file cannot be opened.
        """

        def hurried() -> bool:
            return signalled() and time.monotonic() > self._ending + ECHO

        places, (of_stdout, of_stderr) = self._places, self._filters
        if of_stdout:
            self.filtered_stdout = _opened(places.filtered_stdout, held)
        if of_stderr:
            self.filtered_stderr = _opened(places.filtered_stderr, held)
        for teed, console, words, copy in (
            (places.tee_stdouts, sys.stdout, of_stdout, self.filtered_stdout),
            (places.tee_stderrs, sys.stderr, of_stderr, self.filtered_stderr),
        ):
            files = self._shown(teed)
            others = self._captured(teed, but=files)
            if files:
                tail_log = self._make(files, console)
                if words and copy is not None:
                    tail_log.also_into(copy, _holds(words))
                self._start(tail_log, held, hurried)
            if others and words and copy is not None:
                self._start(self._make(others, copy, _holds(words)), held, hurried)

    def begin_end(self) -> None:
        """Begin to show the rest, and do not wait: nothing will be written any more."""
        self._ending = time.monotonic()
        for tail_log in self._tail_logs:
            tail_log.begin_end()

    def see_off(self) -> None:
        """Wait for the end of the thread that has shown all, unless others are shown in this process."""
        tail = sys.modules.get("procession._logs.tail")  # who has not imported it has shown nothing
        if tail is not None:
            tail.see_off()

    def _make(
        self, files: dict[int, str], dst: TextIO, keep: Callable[[str], bool] | None = None
    ) -> TailLog:
        from procession.multiprocessing.tail_log import TailLog

        if keep is None:
            return TailLog(self._name, files, dst, self._prefixes)
        return TailLog(self._name, files, dst, self._prefixes, log_line_filter=keep)

    def _start(self, tail_log: TailLog, held: ExitStack, hurried: Callable[[], bool]) -> None:
        tail_log.staying()
        if self._look is not None:
            tail_log.looking(self._look)
        held.callback(tail_log.end, hurried)
        self._tail_logs.append(tail_log.start())

    def _shown(self, teed: Mapping[int, str]) -> dict[int, str]:
        """Leave out what never holds anything, and the global ranks that are not wished for."""
        wanted = None if self._look is None else self._look.ranks
        return {
            rank: path
            for rank, path in self._captured(teed).items()
            if wanted is None or int(self._envs[rank].get("RANK", rank)) in wanted
        }

    def _captured(self, teed: Mapping[int, str], but: Container[int] = ()) -> dict[int, str]:
        """Leave out what never holds anything."""
        return {rank: path for rank, path in teed.items() if path != os.devnull and rank not in but}


def _opened(path: str, held: ExitStack) -> TextIO:
    return held.enter_context(open(path, mode="w", errors="replace", buffering=1))


def _holds(words: Sequence[str]) -> Callable[[str], bool]:
    needles = tuple(words)
    return lambda line: any(needle in line for needle in needles)
