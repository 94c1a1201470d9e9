"""Where a view goes: the process's own console, a file, or any text stream.

A sink gathers what several streams have to say and hands it on in one piece. It knows whether it
stands inside a line and whose, so that no prefix gets into a line and no two streams share one. One
file has one sink, whoever writes to it: standard output and standard error that lead to the same
terminal stand inside the same line.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from procession._log import Logger
from procession._logs.basket import Basket
from procession._logs.lines import LineAssembler
from procession._os.pipes import reopened, room_in, widen

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from procession._logs.lines import Piece

logger = Logger(__name__)

# After POLLOUT a pipe takes this much at once, never tears it, and does not block (pipe(7)).
_PIECE = select.PIPE_BUF
_ANY_SIZE = sys.maxsize
_READER_GONE = {errno.EPIPE, errno.EBADF, errno.EIO, errno.ENXIO, errno.ECONNRESET}


class Sink:
    """The gathering half of a sink; how it is handed on is the subclass's `write`.

    The tail thread owns it; `stalled_for` and `unwritten` are for the thread that waits for it.

    Args:
        key: Equal for two sinks that lead to the same place.
        console: True for the process's standard output or error, which others write to as well:
            the view leaves it at a line's beginning.
        terminal: True where a person may wait for the rest of an unfinished line.
    """

    # True if `write` may wait in the kernel and touches nothing a forked child needs whole.
    waits_in_kernel = False

    def __init__(self, key: Hashable, *, console: bool, terminal: bool) -> None:
        self.key = key
        self.terminal = terminal
        self.draws = False  # a line can be drawn again here
        self.closed = False  # takes nothing more
        self.failure: OSError | None = None  # for which reason, unless its reader has gone
        self.blocked = False  # the last `write` has left bytes here
        self.console = console
        self._waited_from: float | None = None
        self._holder: LineAssembler | None = None
        self._basket = Basket()

    @property
    def size(self) -> int:
        """How many bytes wait here to be handed on."""
        return self._basket.size

    def put_lines(self, owner: LineAssembler, pieces: Sequence[Piece], own: int) -> None:
        """Gather whole lines of one stream.

        Args:
            owner: What has made them.
            pieces: The lines, in pieces of any kind.
            own: How many bytes of the stream are in them, for `Basket.put`.
        """
        if self._holder is not owner:
            self.end_line()
        self._holder = None
        if not self.closed:
            self._basket.put(owner, pieces, own)

    def put_part(self, owner: LineAssembler, part: bytes, own: int) -> None:
        """Gather an unfinished line of one stream, as far as it is known."""
        if part:
            self.put_lines(owner, [part], own)
            self._holder = owner

    def end_line(self, owner: LineAssembler | None = None) -> None:
        """End the line in which the sink stands, if it does (and if it is ``owner``'s)."""
        if self._holder is not None and (owner is None or owner is self._holder):
            self._holder.interrupt()
            self._holder = None
            if not self.closed:
                self._basket.put(None, [b"\n"], 0)

    def put_bar(self, owner: LineAssembler, bar: bytes) -> None:
        """Show this as the state of a stream's unfinished line, where lines can be drawn again."""

    def drop_bar(self, owner: LineAssembler) -> None:
        """Show nothing more of a stream's unfinished line."""

    def clear(self) -> None:
        """Leave the place to somebody else for a moment."""

    def finish(self) -> None:
        """Nothing more comes from this view: leave a console at a line's beginning."""
        if self.console:
            self.end_line()

    def unwritten(self) -> dict[LineAssembler, int]:
        """How many bytes of each stream have been gathered and not handed on."""
        return self._basket.left()

    def write(self) -> bool:
        """Hand on what is gathered; True once nothing is left."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of what the sink has opened itself."""

    def stalled_for(self, now: float) -> float:
        """How long somebody has waited, beginning now, while nothing of what is here was taken."""
        if self._waited_from is None:
            self._waited_from = now
        return now - self._waited_from if self.size else 0.0

    def end_wait(self) -> None:
        """Nobody waits any more."""
        self._waited_from = None

    def fileno(self) -> int:
        """Return the descriptor to wait for while the sink is blocked."""
        raise NotImplementedError

    def _has_taken(self, count: int) -> None:
        self._basket.take(count)
        if self._waited_from is not None:
            self._waited_from = time.monotonic()

    def _end(self, reason: OSError | ValueError | None = None) -> None:
        """The place takes nothing more; that ends the view and nothing else."""
        if isinstance(reason, OSError) and reason.errno not in _READER_GONE:
            self.failure = reason
            logger.warning("the view of the logs ends, the logs go on: %s", reason)
        self.closed = True
        self._basket.clear()


class Nowhere(Sink):
    """Where a view goes that shows nothing."""

    def __init__(self) -> None:
        super().__init__(("nowhere", id(self)), console=False, terminal=False)


class FileSink(Sink):
    """A descriptor, written to as bytes: never non-blocking, for other processes share it.

    It writes after POLLOUT only: to pipes and terminals whole lines in pieces of at most PIPE_BUF
    bytes, which then neither block nor mix with the bytes of other writers. A pipe gets longer ones
    where the sink can have a description of its own of it.

    Args:
        fd: The descriptor.
        console: As for `Sink`.
        owned: True if `close` shall close it.
        inside_line: True if what the file holds already ends inside a line.
    """

    waits_in_kernel = True

    def __init__(
        self, fd: int, *, console: bool, owned: bool = False, inside_line: bool = False
    ) -> None:
        status = os.fstat(fd)
        key = (status.st_dev, status.st_ino)
        super().__init__(key, console=console, terminal=os.isatty(fd))
        self._holder = LineAssembler() if inside_line else None
        self._whole = stat.S_ISREG(status.st_mode)
        # Not of a terminal: poll(2) calls one writable that then takes nothing (n_tty_write).
        self._own = reopened(fd) if stat.S_ISFIFO(status.st_mode) else None
        self._narrow = self._own is not None
        self._given = fd
        self._owned = owned
        self._fd = fd if self._own is None else self._own
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)

    def ready(self) -> bool:
        """True if the descriptor takes bytes now; a closed one takes the error."""
        return bool(self._poll.poll(0))

    def fileno(self) -> int:
        """Return the descriptor to wait for while the sink is blocked."""
        return self._fd

    def write(self) -> bool:
        """Hand on what is gathered as far as the file takes it at once; True if it took all."""
        try:
            while self._basket.size:
                if not self.ready() and not self._widened():
                    return False
                piece = self._basket.next_piece(self._fitting())
                self._has_taken(os.write(self._fd, piece))
        except BlockingIOError:
            return False
        except OSError as error:
            self._end(error)
        return True

    def close(self) -> None:
        """Close what the sink has opened."""
        if self._own is not None:
            os.close(self._own)
        if self._owned:
            os.close(self._given)

    def _widened(self) -> bool:
        """Make a full pipe a wide one, the first time that one is met; True if it takes bytes then."""
        if not self._narrow:
            return False
        self._narrow = False
        widen(self._fd)
        return self.ready()

    def _fitting(self) -> int:
        if self._whole:
            return _ANY_SIZE
        return room_in(self._fd) if self._own is not None and self.size > _PIECE else _PIECE


class TextSink(Sink):
    """Any other text stream: decoded with replacement, written and flushed by the tail thread."""

    def __init__(self, stream: TextIO) -> None:
        console = stream is sys.stdout or stream is sys.stderr
        super().__init__(("stream", id(stream)), console=console, terminal=False)
        self._stream = stream

    def write(self) -> bool:
        """Hand on what is gathered. It takes as long as the stream takes."""
        text = str(self._basket.next_piece(_ANY_SIZE), errors="replace")
        try:
            self._write_text(text)
            getattr(self._stream, "flush", _nothing)()
        except (OSError, ValueError) as error:  # ValueError: the stream has been closed
            self._end(error)
        except BaseException as error:  # noqa: BLE001 - foreign code, and other views share this thread
            logger.warning("the view of the logs ends, the logs go on: %r", error)
            self._end()
        self._has_taken(self.size)
        return True

    def _write_text(self, text: str) -> None:
        try:
            self._stream.write(text)
        except UnicodeEncodeError as error:
            self._stream.write(text.encode(error.encoding, "replace").decode(error.encoding))


def open_sink(dst: TextIO | str | os.PathLike[str], *, screen: bool = False) -> Sink:
    """Make the sink that fits a destination.

    Args:
        dst: The process's standard output or error (a text stream on descriptor 1 or 2), any other
            text stream, or the path of a file to append to.
        screen: True for a terminal on which lines are drawn again while others pass.

    Raises:
        OSError: The path cannot be opened.
    """
    if isinstance(dst, (str, os.PathLike)):
        return _open_path(dst)
    if (fd := _console_descriptor(dst)) is None:
        return TextSink(dst)
    sink = _open_console(fd, screen=screen)
    if sink.ready():
        # What the caller has printed so far comes first; a reader that has gone, or a disk that is full, is
        # no reason not to begin.
        with suppress(OSError, ValueError, AttributeError):
            dst.flush()
    return sink


def columns_of(dst: object) -> int:
    """How wide the terminal behind a console stream is, in columns; 0 where it is none."""
    fd = _console_descriptor(dst)
    try:
        return os.get_terminal_size(fd).columns if fd is not None else 0
    except OSError:
        return 0


def _open_console(fd: int, *, screen: bool) -> FileSink:
    if not screen or not os.isatty(fd):
        return FileSink(fd, console=True)
    from procession._logs.bars import TerminalSink

    return TerminalSink(fd)


def _console_descriptor(stream: Any) -> int | None:
    try:
        fd = stream.fileno()
        os.fstat(fd)
    except Exception:  # noqa: BLE001 - foreign code: no descriptor, a closed one, none that is a number
        return None
    return fd if fd in {1, 2} else None


def _open_path(path: str | os.PathLike[str]) -> FileSink:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY
    fd = os.open(path, flags, 0o666)
    return FileSink(fd, console=False, owned=True, inside_line=_ends_inside_line(fd))


def _ends_inside_line(fd: int) -> bool:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return False
    return os.pread(fd, 1, status.st_size - 1) != b"\n"


def _nothing() -> None:
    pass
