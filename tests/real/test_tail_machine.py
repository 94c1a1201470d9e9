"""Rules in random order against a model: two ranks, a console that blocks and a file of filtered lines."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from procession._logs import sinks
from procession._logs.pump import Pump
from procession._logs.view import View

RANKS = st.integers(0, 1)
PIECE = st.sampled_from(
    [b"a", b"keep b\n", b"\n", b"\r 50%", b"\0", b"\xff\xfe", b"\xe2\x82", b"\x1b[31m", b"LONG"]
)
WRITTEN = st.lists(PIECE, min_size=1, max_size=6).map(b"".join)


def long(data: bytes) -> bytes:
    return data.replace(b"LONG", b"d" * 70_000)


class Tail(RuleBasedStateMachine):
    """The view of two growing files, in a FIFO that is read or not, and in a file by a filter."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow = patch.object(
            sinks, "widen"
        )  # else the console never blocks in so short a life
        self.narrow.start()
        self.folder = Path(tempfile.mkdtemp())
        self.logs = [self.folder / "0", self.folder / "1"]
        self.written = [[b""], [b""]]  # of each rank, in the parts that begin a line
        self.dead: set[int] = set()
        for log in self.logs:
            log.touch()
        os.mkfifo(self.folder / "console")
        self.console = os.open(self.folder / "console", os.O_RDONLY | os.O_NONBLOCK)
        self.seen = b""
        files = [(str(log), f"<{n}>") for n, log in enumerate(self.logs)]
        self.view = View(files, str(self.folder / "console"), interval=0.0)
        self.view.show_in(str(self.folder / "kept"), lambda line: "keep" in line)
        self.pump = Pump()
        self.pump.wakeups.at_work.acquire()
        self.pump.admit(self.view)

    @precondition(lambda self: len(self.dead) < 2)
    @rule(n=RANKS, data=WRITTEN)
    def write(self, n: int, data: bytes) -> None:
        if n not in self.dead:
            data = long(data)
            with self.logs[n].open("ab") as file:
                file.write(data)
            self.written[n][-1] += data

    @rule(n=RANKS)
    def die(self, n: int) -> None:
        self.dead.add(n)

    @rule()
    def turn(self) -> None:
        self.pump.wakeups.order(lambda: None)
        self.pump.lookout.news |= dict.fromkeys(self.view.files)  # as the net would have it
        self.pump.turn()

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
            data = long(data)
            other = self.folder / "other"
            other.write_bytes(data)
            other.replace(self.logs[n])
            self.written[n].append(data)
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
            self._finish()
            for n, parts in enumerate(self.written):
                lines = [line for part in parts for line in _lines(part)]
                assert self._shown(self.seen, n) == lines
                kept = [line for line in lines if b"keep" in line]
                assert self._shown((self.folder / "kept").read_bytes(), n) == kept
        finally:
            self.narrow.stop()
            self.pump.shut()
            self.pump.wakeups.at_work.release()
            os.close(self.console)
            shutil.rmtree(self.folder)

    def _settle(self) -> None:
        """Let everything be read: a tail knows of a file what it has seen of it."""
        for _ in range(20):
            self.turn()
            self.read_the_console()

    def _finish(self) -> None:
        self.pump.wakeups.order(lambda: self.pump.drain(self.view))
        while not self.view.drained.is_set():
            self.pump.wakeups.order(lambda: None)
            self.pump.turn()
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


TestTail = Tail.TestCase
TestTail.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
