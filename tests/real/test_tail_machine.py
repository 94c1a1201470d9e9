"""Rules in random order against a model: two ranks, a console that blocks and a file of filtered lines.

Each rank is a process that appends to its log, and may be killed within a line. The tail turns when the
machine says so, and hears of news from the kernel alone: the net is cast for names alone.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from procession._logs import lookout, sinks
from procession._logs.pump import Pump
from procession._logs.view import View

RANKS = st.integers(0, 1)
PIECE = st.sampled_from(
    [b"a", b"keep b\n", b"\n", b"\r 50%", b"\0", b"\xff\xfe", b"\xe2\x82", b"\x1b[31m", b"LONG"]
)
WRITTEN = st.lists(PIECE, min_size=1, max_size=6).map(b"".join)
LAST_WORDS = b"killed within this line " * 10_000
PATIENCE = 30.0  # seconds


def long(data: bytes) -> bytes:
    return data.replace(b"LONG", b"d" * 70_000)


class Writer:
    """A process that appends to a file what it is given, for as long as it lives."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("ab") as log:
            self._process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log, bufsize=0)
        assert self._process.stdin
        self._to = self._process.stdin.fileno()
        os.set_blocking(self._to, False)

    def write(self, data: bytes) -> None:
        """Have it write all of this."""
        size = os.path.getsize(self._path) + len(data)
        while data or os.path.getsize(self._path) < size:
            data = data[self._pass_on(data) :]

    def kill_while_it_writes(self, data: bytes) -> None:
        """Give it more than it has the time to write."""
        while data and not (passed := self._pass_on(data)):
            pass
        self._pass_on(data[passed:])
        self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()

    def _pass_on(self, data: bytes) -> int:
        try:
            return os.write(self._to, data) if data else 0
        except BlockingIOError:
            return 0


class Tail(RuleBasedStateMachine):
    """The view of two growing files, in a FIFO that is read or not, and in a file by a filter."""

    def __init__(self) -> None:
        super().__init__()
        self.undo = ExitStack()
        # Else the console never blocks in so short a life.
        self.undo.enter_context(patch.object(sinks, "widen"))
        self.undo.enter_context(patch.object(lookout, "NET_PERIOD", 3600.0))
        self.folder = Path(tempfile.mkdtemp())
        self.logs = [self.folder / "0", self.folder / "1"]
        self.written = [[b""], [b""]]  # of each rank, in the parts that begin a line
        self.writers = [Writer(log) for log in self.logs]
        self.dead: set[int] = set()
        self._open_view()
        self.pump = Pump()
        self.pump.wakeups.at_work.acquire()
        self.pump.admit(self.view)

    def _open_view(self) -> None:
        os.mkfifo(self.folder / "console")
        self.console = os.open(self.folder / "console", os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self.console, fcntl.F_SETPIPE_SZ, 16384)  # soon full
        self.seen = b""
        files = [(str(log), f"<{n}>") for n, log in enumerate(self.logs)]
        self.view = View(files, str(self.folder / "console"), interval=0.0)
        self.view.sinks[0].terminal = True  # where a line may be shown before its end
        self.view.show_in(str(self.folder / "kept"), lambda line: "keep" in line)

    @precondition(lambda self: len(self.dead) < 2)
    @rule(n=RANKS, data=WRITTEN)
    def write(self, n: int, data: bytes) -> None:
        if n not in self.dead:
            data = long(data)
            self.writers[n].write(data)
            self.written[n][-1] += data

    @rule(n=RANKS)
    def is_killed_within_a_line(self, n: int) -> None:
        if n not in self.dead:
            self.dead.add(n)
            self.writers[n].kill_while_it_writes(LAST_WORDS)
            last_words = self.logs[n].read_bytes()[len(self.written[n][-1]) :]
            assert LAST_WORDS.startswith(last_words)
            self.written[n][-1] += last_words

    @rule()
    def turn(self) -> None:
        self.pump.wakeups.order(lambda: None)
        self.pump.turn()

    @rule(n=RANKS, data=WRITTEN)
    def begin_a_line_and_pause(self, n: int, data: bytes) -> None:
        """So long that what has been begun is shown, by the other rank too."""
        self.write(n, data + b"begun")
        self.turn()
        self.pump._parts = dict.fromkeys(self.pump._parts, 0.0)
        self.turn()

    @rule()
    def read_the_console(self) -> None:
        while data := self._read():
            self.seen += data

    @rule(n=RANKS)
    def truncate(self, n: int) -> None:
        self._settle()
        if self.written[n][-1] and n not in self.dead:
            os.truncate(self.logs[n], 0)
            self.written[n].append(b"")
            self._settle()

    @rule(n=RANKS, data=WRITTEN)
    def replace(self, n: int, data: bytes) -> None:
        self._settle()
        if n not in self.dead:
            self.writers[n].kill()
            other = self.folder / "other"
            other.write_bytes(long(data))
            other.replace(self.logs[n])
            self.written[n].append(long(data))
            self.writers[n] = Writer(self.logs[n])
            self.pump.lookout._net_due = 0.0  # the net alone sees a name change hands
            self._settle()

    @invariant()
    def the_files_are_what_was_written(self) -> None:
        for log, parts in zip(self.logs, self.written, strict=True):
            assert log.read_bytes() == parts[-1]

    @invariant()
    def no_line_holds_two_prefixes_and_none_is_without(self) -> None:
        for line in self.seen.split(b"\n")[:-1]:
            assert line[:3] in {b"<0>", b"<1>"}
            assert b"<" not in line[3:]

    @invariant()
    def lag_takes_no_memory(self) -> None:
        assert all(sink.size < 1_000_000 for sink in self.view.sinks)

    def teardown(self) -> None:
        try:
            self._settle()
            self._finish()
            kept = (self.folder / "kept").read_bytes()
            for n, parts in enumerate(self.written):
                lines = [line for part in parts for line in _lines(part)]
                _assert_is_cut_only_where_another_came_between(self._shown(self.seen, n), lines)
                assert self._shown(kept, n) == [line for line in lines if b"keep" in line]
        finally:
            for writer in self.writers:
                writer.kill()
            self.undo.close()
            self.pump.shut()
            self.pump.wakeups.at_work.release()
            os.close(self.console)
            shutil.rmtree(self.folder)

    def _settle(self) -> None:
        """Let everything be read, which takes no more than that the console is read."""
        turns, began = 0, time.monotonic()
        while self._is_behind():
            self.turn()
            self.read_the_console()
            turns += 1
            assert turns < 500 or time.monotonic() < began + PATIENCE, "news have been lost"

    def _is_behind(self) -> bool:
        unread = any(file.has_news() or file.is_replaced() for file in self.view.files)
        return unread or any(sink.size for sink in self.view.sinks)

    def _finish(self) -> None:
        self.pump.wakeups.order(lambda: self.pump.drain(self.view))
        while not self.view.drained.is_set():
            self.turn()
            self.read_the_console()
        self.read_the_console()

    def _read(self) -> bytes:
        try:
            return os.read(self.console, 65536)
        except BlockingIOError:
            return b""

    @staticmethod
    def _shown(view: bytes, n: int) -> list[bytes]:
        return [line[3:] for line in view.split(b"\n") if line.startswith(b"<%d>" % n)]


def _lines(part: bytes) -> list[bytes]:
    *whole, last = part.split(b"\n")
    return whole + [last] * bool(last)


def _assert_is_cut_only_where_another_came_between(shown: list[bytes], lines: list[bytes]) -> None:
    """A line that was shown before its end goes on in another where somebody has put an end to it."""
    rest = iter(shown)
    for line in lines:
        piece = seen = next(rest)
        while seen != line and line.startswith(seen) and piece:
            seen += (piece := next(rest))
        assert seen == line
    assert not list(rest)


TestTail = Tail.TestCase
TestTail.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
