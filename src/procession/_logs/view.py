"""What one `TailLog` shows: some files, each with its prefix, in one place."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TextIO

from procession._logs.follow import Followed, Output
from procession._logs.lines import LineAssembler
from procession._logs.sinks import open_sink

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from procession._logs.sinks import Sink


class View:
    """A set of files on their way to one or several sinks.

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
        self._prefixes = list(files)
        self._begin([Followed(path, []) for path, _ in self._prefixes], interval)
        self.show_in(dst, keep)

    def _begin(self, files: Sequence[Followed], interval: float) -> None:
        self.interval = interval
        self.closing = False
        self.drained = threading.Event()  # set once the tail is done with the view
        self.sinks: list[Sink] = []
        self.files = list(files)
        self._all_outputs: list[tuple[str, Followed, Output]] = []

    def show_in(
        self, dst: TextIO | str | os.PathLike[str], keep: Callable[[str], bool] | None = None
    ) -> None:
        """Show the files in one more place, out of the same reads."""
        sink = open_sink(dst)
        self.sinks.append(sink)
        dress = None if keep is None else line_filter(keep)
        for file, (path, prefix) in zip(self.files, self._prefixes, strict=True):
            head = prefix.encode(errors="surrogateescape")
            output = Output(LineAssembler(head, dress, source=path), sink)
            file.outputs.append(output)
            self._all_outputs.append((path, file, output))

    def share_sinks(self, sinks: dict[Hashable, Sink]) -> None:
        """Use the sinks that are there already for the same places, and add the others to them."""
        for n, own in enumerate(self.sinks):
            shared = sinks.setdefault(own.key, own)
            if shared is not own:
                own.close()
                self.sinks[n] = shared
                for file in self.files:
                    file.outputs[n].sink = shared

    def skipped(self, sinks: Iterable[Sink]) -> dict[str, int]:
        """For each file with bytes that these sinks have not shown, how many they are."""
        counts: dict[str, int] = {}
        for sink in sinks:
            unwritten = sink.unwritten()
            for path, file, output in self._all_outputs:
                if output.sink is sink:
                    left = file.left(output) + unwritten.get(output.lines, 0)
                    counts[path] = max(left, counts.get(path, 0))
        return {path: count for path, count in counts.items() if count}


def line_filter(keep: Callable[[str], bool]) -> Callable[[bytes], bytes | None]:
    """What shows the lines alone that are wanted, told by their text."""
    return lambda line: line if keep(line.decode(errors="replace")) else None
