"""What stands between a gang and its log files, and beside them, where that is wished."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procession.multiprocessing.streams import captured

if TYPE_CHECKING:
    from contextlib import ExitStack

    from procession._logs.terminal import Terminal
    from procession._loop.gang import Gang
    from procession.multiprocessing.piping import Piping
    from procession.multiprocessing.supervision import Supervision

    Streams = dict[int, tuple[int, int]]

__all__ = ["Captures"]


class Captures:
    """Pipes, a terminal and the books of a gang; nothing of it is imported before it is wished.

    Args:
        wishes: What is wished.
        stdouts: The path of each local rank's stdout, "" where it is the launcher's.
        stderrs: The same of stderr.
    """

    def __init__(
        self, wishes: Supervision, stdouts: dict[int, str], stderrs: dict[int, str]
    ) -> None:
        self._wishes = wishes
        self._stdouts = stdouts
        self._stderrs = stderrs
        self._piping: Piping | None = None
        self._terminal: Terminal | None = None

    def lay(self, streams: Streams) -> Streams:
        """Put pipes and a terminal between the ranks and their files, before there is a guardian.

        Args:
            streams: Local rank to the fds of stdout and stderr.

        Returns:
            The same as the workers get them.

        Raises:
            OSError: They cannot be had.
        """
        if self._wishes.pipes:
            from procession.multiprocessing.piping import Piping

            paths = {rank: (self._stdouts[rank], self._stderrs[rank]) for rank in streams}
            self._piping = Piping(self._wishes.pipes, paths, streams)
            streams = self._piping.streams
        rank = self._wishes.tty_rank
        if rank is not None and rank in streams:
            from procession._logs.terminal import Terminal

            self._terminal = Terminal(streams[rank][0])
            streams = {**streams, rank: (self._terminal.slave, self._terminal.slave)}
        return streams

    @property
    def taking(self) -> int:
        """The fd that the rank with the terminal closes when it has taken it (`Terminal`)."""
        return self._terminal.taking if self._terminal is not None else -1

    def started(self, gang: Gang) -> None:
        """The workers have their ends."""
        if self._piping is not None:
            self._piping.started(gang)
        if self._terminal is not None:
            self._terminal.hand_over()

    def finish(self) -> None:
        """See all in the files that was written; no worker lives. The second time nothing happens."""
        if self._terminal is not None:
            self._terminal.finish()
        if self._piping is not None:
            self._piping.finish()

    @property
    def dropped(self) -> dict[str, int]:
        """Path and number of bytes that the disk did not take in time; known after `finish`."""
        return dict(self._piping.lost) if self._piping is not None else {}

    def get_ready(self) -> None:
        """Import what keeps the books, if that is wished."""
        if self._wishes.books:
            import procession._logs.books
            import procession._logs.tail  # noqa: F401

    def keep_books(self, held: ExitStack) -> None:
        """Begin to keep the books of the files; ``held`` ends it."""
        books = self._wishes.books
        files = captured(self._stdouts, self._stderrs) if books else []
        if books and files:
            from procession._logs import tail
            from procession._logs.books import keep_books

            view = keep_books(files, books.limit, books.say)
            held.callback(tail.finish, view)
            tail.show(view)
