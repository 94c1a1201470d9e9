"""The scribe: a process that reads pipes and writes what comes out of them to files.

``python -I -S …/_logs/scribe.py FIRST COUNT POLICY...`` has its control socket as fd 3. POLICY is
``block`` or ``drop``, one for each stream; FIRST is the fd of the first stream's pipe, behind it come
its file, the second stream's pipe, and so on.

It reads with one thread and writes with another, so that a file system that takes nothing for a while
holds up the second alone. It hears ``end`` when all writers are gone: then it writes what is left and
goes. Meanwhile it says once a second, and at last, how many bytes are left and how many of each stream
have been dropped. Without a launcher it ends when the pipes do. Standard library only.
"""

from __future__ import annotations

import errno
import os
import select
import sys
import threading
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

CONTROL = 3
_PIECE = 64 * 1024  # what a pipe holds (pipe(7))
_ROOM = {"block": 2**20, "drop": 8 * 2**20}  # bytes of a stream that wait in memory at most
_AGAIN = 0.2  # seconds between two tries to write to a disk that is full
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EAGAIN}


class Backlog:
    """What has been read of a stream and not been written.

    Args:
        policy: ``block``: more is not read once it is full. ``drop``: the oldest lines are dropped.
    """

    def __init__(self, policy: str) -> None:
        self._drops = policy == "drop"
        self._room = _ROOM[policy]
        self._pieces: deque[bytes] = deque()
        self._current = b""  # what is being written: it is not dropped
        self.size = 0  # of all that
        self.dropped = 0  # in all
        self._unsaid = 0  # dropped, and not said in the file yet

    @property
    def takes(self) -> bool:
        """True if more may be read."""
        return self._drops or self.size < self._room

    def put(self, piece: bytes) -> None:
        """Add what has been read."""
        self._pieces.append(piece)
        self.size += len(piece)
        while self.size > self._room and self._drops and len(self._pieces) > 1:
            self._drop(len(self._pieces[0]))

    def next(self) -> bytes:
        """What is to be written next; where bytes were dropped, first how many."""
        if not self._current and self._unsaid:
            self._to_line_start()
            self._current, self._unsaid = _mark(self._unsaid), 0
            self.size += len(self._current)
        elif not self._current and self._pieces:
            self._current = self._pieces.popleft()
        return self._current

    def wrote(self, count: int) -> None:
        """Be rid of the first bytes of what `next` gave."""
        self._current = self._current[count:]
        self.size -= count

    def _drop(self, count: int) -> None:
        piece = self._pieces.popleft()
        if count < len(piece):
            self._pieces.appendleft(piece[count:])
        self.size -= count
        self.dropped += count
        self._unsaid += count

    def _to_line_start(self) -> None:
        """Drop the rest of a line whose beginning has been dropped."""
        if self._pieces:
            self._drop(self._pieces[0].find(b"\n") + 1)


def _mark(count: int) -> bytes:
    return b"\n[%d bytes are missing here: the disk did not take them in time]\n" % count


class Scribe:
    """Reads in the main thread, writes in another.

    Args:
        streams: Pipe, file and policy of each.
    """

    def __init__(self, streams: Sequence[tuple[int, int, str]]) -> None:
        self._files = {pipe: file for pipe, file, _ in streams}
        self._backlogs = {pipe: Backlog(policy) for pipe, _, policy in streams}
        self._turns = deque(self._files)
        self._open = set(self._files)
        self._wakeup, self._waker = os.pipe()  # the writer has made room
        os.set_blocking(self._waker, False)
        self._ended = False  # nothing more is to come
        self._changed = threading.Condition()

    def run(self) -> None:
        """Work until all is written."""
        writer = threading.Thread(target=self._write_all, daemon=True)
        writer.start()
        told = False
        while self._open or not told:
            told = self._turn(told)
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        while writer.is_alive():
            writer.join(1.0)
            with self._changed:
                left = sum(backlog.size for backlog in self._backlogs.values())
                dropped = [backlog.dropped for backlog in self._backlogs.values()]
            _say(" ".join(map(str, (left, *dropped))))

    def _turn(self, told: bool) -> bool:
        """Read what there is to read; True once nothing more is to be heard of the launcher."""
        poll = select.poll()
        with self._changed:
            takes = [pipe for pipe in self._open if self._backlogs[pipe].takes]
        for fd in [*takes, self._wakeup, *([] if told else [CONTROL])]:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll():
            if fd == self._wakeup:
                os.read(fd, 4096)
            elif fd != CONTROL:
                self._read(fd)
            else:
                told = True
                if os.read(CONTROL, 64):  # else the launcher is gone: so are its workers, soon
                    self._read_out()
        return told

    def _read(self, pipe: int) -> bool:
        """Read a piece; False where there is none."""
        try:
            piece = os.read(pipe, _PIECE)
        except BlockingIOError:
            return False
        with self._changed:
            if piece:
                self._backlogs[pipe].put(piece)
            else:
                self._open.discard(pipe)
            self._changed.notify_all()
        return bool(piece)

    def _read_out(self) -> None:
        """All writers are gone: what is in the pipes is all."""
        for pipe in tuple(self._open):
            while self._read(pipe):
                pass
            self._open.discard(pipe)

    def _write_all(self) -> None:
        while (pipe := self._next_pipe()) is not None:
            backlog = self._backlogs[pipe]
            with self._changed:
                piece = backlog.next()
            count = self._write(self._files[pipe], piece)
            with self._changed:
                was_full = not backlog.takes
                backlog.wrote(count)
                if not count:
                    self._changed.wait(_AGAIN)
            if was_full and backlog.takes:
                self._wake_reader()

    def _next_pipe(self) -> int | None:
        """The next stream with a backlog, each in its turn; None when all is written."""
        with self._changed:
            while True:
                for pipe in tuple(self._turns):
                    self._turns.rotate(-1)
                    if self._backlogs[pipe].size:
                        return pipe
                if self._ended:
                    return None
                self._changed.wait()

    def _wake_reader(self) -> None:
        try:
            os.write(self._waker, b"!")
        except BlockingIOError:  # it has been woken often enough
            return

    def _write(self, file: int, piece: bytes) -> int:
        try:
            return os.write(file, piece)
        except OSError as error:
            # A disk that is full may have room again; any other error will not go away.
            return 0 if error.errno in _FULL else len(piece)


def _say(text: str) -> None:
    try:
        os.write(CONTROL, f"{text}\n".encode())
    except OSError:  # the launcher is gone
        return


def main(first: int, policies: Sequence[str]) -> None:
    """Be the scribe."""
    streams = [(first + 2 * n, first + 2 * n + 1, policy) for n, policy in enumerate(policies)]
    for pipe, _, _ in streams:
        os.set_blocking(pipe, False)
    Scribe(streams).run()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
    os._exit(0)
