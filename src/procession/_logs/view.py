"""What one `TailLog` shows: some files, each with its prefix, in one place."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TextIO

from procession._log import Logger
from procession._logs.follow import FoldedOutput, Followed, Output
from procession._logs.lines import LONGEST_HELD, LineAssembler
from procession._logs.look import Look, coloured, many
from procession._logs.sinks import open_sink

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from procession._logs.fold import Fold
    from procession._logs.sinks import Sink

logger = Logger(__name__)

_PLAIN = Look(colour=False)


class View:
    """A set of files on their way to one or several sinks.

    Args:
        files: Path and prefix of each.
        dst: A text stream, or the path of a file to append to.
        interval: Seconds between two looks at a file that cannot be watched.
        keep: Which lines are shown; None shows all, at a multiple of the speed.
        look: What is wished of a console; None paints nothing.
        ranks: Of the files, for colours; by default they are numbered.
        stays: As for `Followed`.

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
        look: Look | None = None,
        ranks: Sequence[int] | None = None,
        stays: bool = False,
    ) -> None:
        self._prefixes = list(files)
        self._look = look or _PLAIN
        self._ranks = list(ranks or range(len(self._prefixes)))
        files_shown = [Followed(path, [], stays=stays) for path, _ in self._prefixes]
        self._begin(files_shown, interval)
        self.show_in(dst, keep)

    def _begin(self, files: Sequence[Followed], interval: float) -> None:
        self.interval = interval
        self.ending = False  # somebody waits, or will, for its files to be shown to their ends
        self.closing = False  # the tail has begun with that
        self.drained = threading.Event()  # set once the tail is done with the view
        self.failure: OSError | None = None  # known then: as of its sinks
        self.fold: Fold | None = None
        self.sinks: list[Sink] = []
        self.files = list(files)
        self._all_outputs: list[tuple[str, Followed, Output]] = []

    def show_in(
        self,
        dst: TextIO | str | os.PathLike[str],
        keep: Callable[[str], bool] | None = None,
        heads: Iterable[str] | None = None,
    ) -> None:
        """Show the files in one more place, out of the same reads, and behind other heads if given."""
        sink = open_sink(dst, screen=True)
        self.sinks.append(sink)
        fold = None
        if self._look.fold and sink.console:
            from procession._logs.fold import Fold

            fold = self.fold = Fold(len(self.files))
        paint = sink.console and self._paints(sink)
        texts = [prefix for _, prefix in self._prefixes] if heads is None else heads
        for n, (file, text) in enumerate(zip(self.files, texts, strict=True)):
            path, head = file.path, text.encode(errors="surrogateescape")
            head = coloured(head, self._ranks[n]) if paint else head
            wanted = None if keep is None else LineFilter(keep, path)
            limit = self._look.limit
            lines = assembler(head, path, sink, wanted, limit=limit, rank=self._ranks[n])
            if fold is None:
                output = Output(lines, sink, wanted)
            else:
                output = FoldedOutput(lines, sink, wanted, fold, n)
            file.outputs.append(output)
            self._all_outputs.append((path, file, output))

    def _paints(self, sink: Sink) -> bool:
        wish = self._look.colour
        return sink.terminal if wish is None else wish

    def show_folded(self, now: float) -> None:
        """Show the lines that have waited for their like until now."""
        if self.fold is None:
            return
        outputs = [output for _, _, output in self._all_outputs[: len(self._prefixes)]]
        for line, those, _, _ in self.fold.take(now):
            first, *others = (outputs[n] for n in those)
            head = many([self._ranks[n] for n in those]) if others else first.lines.prefix
            first.sink.put_lines(first.lines, [head, line], len(line))
            for other in others:
                other.sink.put_lines(other.lines, [], len(line))

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


def assembler(
    prefix: bytes,
    path: str,
    sink: Sink,
    wanted: LineFilter | None,
    *,
    limit: int = LONGEST_HELD,
    rank: int = 0,
) -> LineAssembler:
    """What makes lines of a file for a sink: of a terminal, such as it can show."""
    if not sink.terminal:
        return LineAssembler(prefix, wanted, limit, path, rank)
    from procession._logs.screen import ScreenLines

    return ScreenLines(prefix, limit, path, rank, redraws=sink.draws, wanted=wanted)


class LineFilter:
    """What shows the lines alone that are wanted, told by their text, and none after one that it fails at."""

    def __init__(self, keep: Callable[[str], bool], source: str) -> None:
        self._keep = keep
        self._source = source
        self.failed = False

    def __call__(self, line: bytes) -> bytes | None:
        """Return the line, or None if it is not to be shown."""
        try:
            kept = not self.failed and self._keep(line.decode(errors="replace"))
        except Exception:  # the caller's code, and other views share this thread
            logger.exception("error in log tailer for %s", self._source)
            self.failed = True
            return None
        return line if kept else None
