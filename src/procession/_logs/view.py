"""What one `TailLog` shows: some files, each with its prefix, in one place."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TextIO

from procession._logs.follow import Followed
from procession._logs.lines import LineAssembler
from procession._logs.sinks import open_sink

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from procession._logs.sinks import Sink


class View:
    """A set of files on their way to a sink.

    Args:
        files: Path and prefix of each.
        dst: A text stream, or the path of a file to append to.
        interval: Seconds between two looks at a file that cannot be watched.
        keep: Which lines are shown; None shows all, at a multiple of the speed.

    Raises:
        OSError: ``dst`` is a path that cannot be opened.
    """

    def __init__(
        self,
        files: Iterable[tuple[str, str]],
        dst: TextIO | str | os.PathLike[str],
        *,
        interval: float,
        keep: Callable[[str], bool] | None = None,
    ) -> None:
        self.sink = open_sink(dst)
        self.interval = interval
        self.closing = False
        self.drained = threading.Event()  # set once the tail is done with the view
        self.files = [
            Followed(path, LineAssembler(prefix.encode(errors="surrogateescape"), keep), self.sink)
            for path, prefix in files
        ]
        self._all_files = tuple(self.files)

    def go_to(self, sink: Sink) -> None:
        """Use the sink that is there already for the same place."""
        if sink is not self.sink:
            self.sink.close()
            self.sink = sink
            for file in self.files:
                file.sink = sink

    def skipped(self) -> dict[str, int]:
        """For each file with bytes that have not been shown, how many they are."""
        unwritten = self.sink.unwritten()
        counts = {
            file.path: file.skipped() + unwritten.get(file.lines, 0) for file in self._all_files
        }
        return {path: count for path, count in counts.items() if count}
